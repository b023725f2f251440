"""Makes the disk of a virtual machine with cgroup v2: Debian 13 with systemd and what the rehearsal needs.

It is made once and kept in the cache, under a name that depends on all that makes it. Needs debootstrap(8), mke2fs(8)
and ssh-keygen(1).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rehearsal.docker.base_image import MIRROR
from rehearsal.kubernetes import official
from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings
from tests.support.paths import ROOT

SUITE = "trixie"
PACKAGES = (
    f"linux-image-cloud-{official.architecture()} initramfs-tools systemd-sysv udev dbus openssh-server "
    # What scripts/dev/packages.sh rehearsal installs.
    "python3 python3-venv git curl ca-certificates docker.io docker-cli docker-buildx debootstrap "
    "containernetworking-plugins runc iptables iproute2 ethtool conntrack procps"
).split()
SIZE = "16G"
#: For one package after the other under full load.
TIMEOUT = 3600

#: Runs in the new root. The guest's address and name server are those of QEMU's user network.
FINISH = """set -eu
echo /dev/vda / ext4 defaults 0 1 >/etc/fstab
echo nameserver 10.0.2.3 >/etc/resolv.conf
printf '[Match]\\nType=ether\\nKind=!veth\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n' \
  >/etc/systemd/network/10-user.network
systemctl enable systemd-networkd ssh
systemctl disable apt-daily.timer apt-daily-upgrade.timer
systemctl mask systemd-networkd-wait-online
rm -rf /var/cache/apt/archives/*.deb
"""
#: The Python environment is made here, because the guest needs no package index then.
ENVIRONMENT = "cd /root/tutorial && scripts/dev/venv.sh rehearsal >&2 && cd / && rm -rf /root/tutorial /root/.cache/eks-rehearsal/uv"


@dataclass(frozen=True)
class Image:
    """What boots: a disk, a kernel with its initrd, and the key of the disk's root user."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The root file system, without a partition table."""
        return self.directory / "disk.img"

    @property
    def kernel(self) -> Path:
        """Debian's cloud kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Has the modules that the kernel needs to mount the disk."""
        return self.directory / "initrd.img"

    @property
    def key(self) -> Path:
        """The private key that ssh(1) needs."""
        return self.directory / "key"


def image() -> Image:
    """Return the image, after making it if it is not in the cache; concurrent callers wait for the first."""
    made = Image(settings.cache / f"guest-{_digest()}")
    settings.cache.mkdir(parents=True, exist_ok=True)
    with (settings.cache / "guest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.directory.exists():
            for old in settings.cache.glob("guest-*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=settings.cache, prefix="guest-") as work:
                _make(Path(work) / "root", Image(Path(work) / "image"))
                (Path(work) / "image").rename(made.directory)
    return made


def _digest() -> str:
    parts = [SUITE, *PACKAGES, SIZE, FINISH, ENVIRONMENT, machine_bundle().read_text(encoding="utf-8")]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("uv.lock", "scripts/dev/make_venv.py")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _make(root: Path, made: Image) -> None:
    run("unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap", "--variant=minbase",
        f"--include={','.join(PACKAGES)}", SUITE, str(root), MIRROR)  # fmt: skip
    configure(root)
    pack(root, made)


def configure(root: Path) -> None:
    """Make the new root bootable, and install the Python environment with this machine's network."""
    shutil.copy(machine_bundle(), root / "etc/ssl/certs/ca-certificates.crt")
    tutorial = root / "root/tutorial"
    shutil.copytree(ROOT / "scripts", tutorial / "scripts")
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tutorial)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    for script in (ENVIRONMENT, FINISH):
        enter = f'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/env HOME=/root PATH={os.defpath}:/usr/sbin:/sbin sh -c "$1"'
        run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, str(root), script)


def pack(root: Path, made: Image) -> None:
    """Write the image's files."""
    made.directory.mkdir()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.key))
    keys = root / "root/.ssh"
    keys.mkdir(mode=0o700)
    shutil.copy(made.key.with_suffix(".pub"), keys / "authorized_keys")
    for name, target in (("vmlinuz", made.kernel), ("initrd.img", made.initrd)):
        shutil.copy(next((root / "boot").glob(f"{name}-*")), target)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made.disk), SIZE)


def run(*command: str) -> None:
    """Run a command at low priority; where it fails, the error has the end of its output."""
    done = subprocess.run(
        ["nice", "-n", "5", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-3000:]}"
