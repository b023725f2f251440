"""Makes the disk of a virtual machine with cgroup v2: Debian 13 with systemd and what the rehearsal needs.

It is made once and kept in the cache, under a name that depends on all that makes it. Needs debootstrap(8) and mke2fs(8).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from rehearsal.docker.base_image import MIRROR
from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings
from tests.support.paths import ROOT

SUITE = "trixie"
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod"),
    # What scripts/dev/packages.sh rehearsal installs.
    *("python3", "python3-venv", "git", "curl", "ca-certificates", "docker.io", "docker-cli", "docker-buildx"),
    *("mmdebstrap", "containernetworking-plugins", "runc", "iptables", "iproute2", "ethtool", "conntrack", "procps"),
)
SIZE = "16G"
#: For one package after the other under full load.
TIMEOUT = 3600

#: Runs the scripts of Guest.run one after the other. The pipe makes ``read`` wait without a process of its own.
COMMANDS = """#!/bin/bash
export HOME=/root
mkfifo /run/commands && exec 9<>/run/commands
for ((number = 0; ; number++)); do
  until [[ -e /share/$number.sh ]]; do read -rt 1 -u 9; done
  bash "/share/$number.sh" >"/share/$number.out" 2>"/share/$number.err" </dev/null
  echo $? >"/share/$number.new" && mv "/share/$number.new" "/share/$number.code"
done
"""
#: The kubelet refuses a processor without a clock speed. The kernel of user-mode-linux gives none.
CLOCK_SPEED = """#!/bin/sh -e
processor=/sys/devices/system/cpu/cpu0
cp -r $processor/topology /run
mount -t tmpfs tmpfs $processor
mkdir $processor/cpufreq
mv /run/topology $processor
echo 1000000 >$processor/cpufreq/cpuinfo_max_freq
"""
SERVICE = """[Unit]
After=multi-user.target
[Service]
ExecStartPre=/usr/local/sbin/clock-speed
ExecStart=/usr/local/sbin/commands
KillMode=process
Delegate=yes
[Install]
WantedBy=multi-user.target
"""
#: The guest's address and name server are those of slirp(1).
NETWORK = """[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
FILES = {
    "etc/fstab": "/dev/ubda / ext4 defaults 0 0\n/dev/ubdb /programs ext4 ro 0 0\nnone /share hostfs defaults 0 0\n",
    "etc/hostname": "guest\n",
    "etc/systemd/network/eth0.network": NETWORK,
    "etc/systemd/system/commands.service": SERVICE,
    "usr/local/sbin/clock-speed": CLOCK_SPEED,
    "usr/local/sbin/commands": COMMANDS,
}
#: Runs in the new root. The kernel of user-mode-linux has no tables of nftables for IPv4.
FINISH = """set -eu
echo nameserver 10.0.2.3 >/etc/resolv.conf
chmod +x /usr/local/sbin/*
mkdir /share /programs
ln -s /programs/modules /usr/lib/modules
update-alternatives --set iptables /usr/sbin/iptables-legacy
update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy
systemctl enable systemd-networkd commands
systemctl disable apt-daily.timer apt-daily-upgrade.timer docker.socket docker.service containerd.service
systemctl mask systemd-networkd-wait-online getty.target systemd-journal-catalog-update ldconfig
rm -rf /var/cache/apt/archives/*.deb
"""
#: The Python environment is made here, because the guest needs no package index then.
ENVIRONMENT = "cd /root/tutorial && scripts/dev/venv.sh rehearsal >&2 && cd / && rm -rf /root/tutorial /root/.cache/eks-rehearsal/uv"


def image() -> Path:
    """Return the disk, after making it if it is not in the cache; concurrent callers wait for the first."""
    made = settings.cache / f"guest-{_digest()}.img"
    settings.cache.mkdir(parents=True, exist_ok=True)
    with (settings.cache / "guest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for old in settings.cache.glob("guest-*"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            with tempfile.TemporaryDirectory(dir=settings.cache, prefix="guest-") as work:
                root, disk = Path(work, "root"), Path(work, "disk.img")
                bootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE]
                run("unshare", "--mount", "--pid", "--fork", "--kill-child", *bootstrap, str(root), MIRROR)
                configure(root)
                run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), SIZE)
                disk.rename(made)
    return made


def _digest() -> str:
    parts = [SUITE, *PACKAGES, SIZE, str(FILES), FINISH, ENVIRONMENT, machine_bundle().read_text(encoding="utf-8")]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("uv.lock", "scripts/dev/make_venv.py")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def configure(root: Path) -> None:
    """Make the new root bootable, and install the Python environment with this machine's network."""
    shutil.copy(machine_bundle(), root / "etc/ssl/certs/ca-certificates.crt")
    tutorial = root / "root/tutorial"
    shutil.copytree(ROOT / "scripts", tutorial / "scripts")
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tutorial)
    for name, text in FILES.items():
        (root / name).write_text(text, encoding="ascii")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    for script in (ENVIRONMENT, FINISH):
        enter = f'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/env HOME=/root PATH={os.defpath}:/usr/sbin:/sbin sh -c "$1"'
        run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, str(root), script)


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
