"""A node, in place of an EC2 instance with EKS's AMI: a network namespace with containerd, kubelet and kube-proxy.

Pods get addresses that the whole VPC can route, as from Amazon's VPC CNI (https://docs.aws.amazon.com/eks/latest/userguide/pod-networking.html),
but from the reference plug-ins ptp and host-local. The labels are those of EKS's nodes.

Differs from EKS: both nodes share this machine's CPUs, memory and disk, and each reports all of them; pods cannot reach
anything outside the VPC; no host ports; no DNS for pods.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rehearsal import waiting
from rehearsal.kubernetes import pause, pki
from rehearsal.sandbox import SandboxError, cgroups, network
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

#: Directories where distributions install the CNI plug-ins.
PLUGIN_DIRECTORIES = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
#: The limit of a t3.medium, with 3 interfaces of 6 addresses (https://github.com/awslabs/amazon-eks-ami, eni-max-pods.txt).
MAX_PODS = 17
INSTANCE_TYPE = "t3.medium"
DNS = "10.96.0.10"
TIMEOUT = 20.0


@dataclass(frozen=True)
class Node:
    """Node ``number``, counted from 1."""

    number: int

    @property
    def name(self) -> str:
        """Name of the Node object, of the network namespace and of the cgroup."""
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        """Address in the VPC."""
        return settings.node_ip(self.number)

    @property
    def directory(self) -> Path:
        """Directory of the node's files, kept until the cluster is removed."""
        return pki.directory() / self.name

    @property
    def short(self) -> Path:
        """Directory for sockets, whose paths must be short; in the sandbox's own /run."""
        return Path("/run") / self.name

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.short / "containerd.sock"

    @property
    def kubelet_root(self) -> Path:
        """The kubelet's directory, which has sockets: that of ``directory``, mounted where its path is short."""
        return self.short / "kubelet"

    @property
    def zone(self) -> str:
        """Availability zone; the nodes alternate between two."""
        return settings.region + "ab"[(self.number - 1) % 2]

    def programs(self) -> dict[str, Program]:
        """Return containerd, kubelet and kube-proxy, by these names."""
        binary = settings.bin
        commands: dict[str, list[str | Path]] = {
            "containerd": [
                binary / "containerd",
                "--config",
                self.directory / "containerd.toml",
                "--log-level",
                "warn",
            ],
            "kubelet": [
                binary / "kubelet",
                f"--config={self.directory / 'kubelet.yaml'}",
                f"--kubeconfig={pki.kubeconfig(self.name)}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.address}",
                f"--root-dir={self.kubelet_root}",
                f"--cert-dir={self.directory / 'pki'}",
                f"--node-labels={labels_flag(self.labels())}",
            ],
            "kube-proxy": [binary / "kube-proxy", f"--config={self.directory / 'proxy.yaml'}"],
        }
        return {
            name: Program(f"{self.name}-{name}", command, netns=self.name, autostart=True, stop_signal="KILL")
            for name, command in commands.items()
        }

    def labels(self) -> dict[str, str]:
        """Return those labels of EKS's nodes that a kubelet may set itself."""
        return {
            "topology.kubernetes.io/region": settings.region,
            "topology.kubernetes.io/zone": self.zone,
            "node.kubernetes.io/instance-type": INSTANCE_TYPE,
            "eks.amazonaws.com/capacityType": "ON_DEMAND",
        }

    def prepare(self) -> None:
        """Create the node's network, control group and configuration files."""
        self.directory.mkdir(parents=True)
        self._mount_kubelet_root()
        network.join(self.name, self.address)
        network.guard(self.name, settings.pods_of(self.number), settings.api_port)
        network.route(None, settings.pods_of(self.number), [self.address])
        cgroups.create(f"{cgroups.NAME}/{self.name}")
        (self.directory / "cni").mkdir()
        self._write("containerd.toml", self.containerd())
        self._write("kubelet.yaml", yaml.safe_dump(self.kubelet()))
        self._write("proxy.yaml", yaml.safe_dump(self.proxy()))

    def _mount_kubelet_root(self) -> None:
        on_disk = self.directory / "kubelet"
        for directory in (on_disk, self.kubelet_root):
            directory.mkdir(parents=True)
        mount = ["mount", "--bind", str(on_disk), str(self.kubelet_root)]
        subprocess.run(mount, check=True, timeout=waiting.bound(TIMEOUT))

    def configure_pod_network(self) -> None:
        """Write the CNI configuration; a node is not ready before it has one."""
        self._write("cni/10-pods.conflist", json.dumps(self.cni()))

    def route_to(self, others: list[Node]) -> None:
        """Add routes to the other nodes' pods, as in a VPC."""
        for other in others:
            if other != self:
                network.route(self.name, settings.pods_of(other.number), [other.address])

    def import_image(self, archive: Path) -> None:
        """Import an image from a tar into containerd, under its name in the tar.

        Raises:
            SandboxError: containerd refuses the image.
            TimeoutError: containerd does not answer.
        """
        waiting.until(self._answers, TIMEOUT, f"containerd of {self.name}")
        # Pinned, because no registry has the image if garbage collection removes it.
        pin = ["--label", "io.cri-containerd.pinned=pinned"]
        done = self._ctr("-n", "k8s.io", "images", "import", *pin, str(archive))
        if done.returncode:
            raise SandboxError(f"containerd of {self.name} refused {archive.name}: {done.stderr.strip()}")

    def cni(self) -> dict[str, Any]:
        """Return the CNI configuration: a link for each pod, no address translation inside the VPC."""
        ipam = {
            "type": "host-local",
            "dataDir": str(self.short / "ipam"),
            "ranges": [[{"subnet": settings.pods_of(self.number)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}]}

    def containerd(self) -> str:
        """Return containerd's configuration, which pulls images only from the rehearsal's registry."""
        directories = ", ".join(f'"{directory}"' for directory in PLUGIN_DIRECTORIES)
        return f"""version = 3
root = "{self.directory / "containerd"}"
state = "{self.short / "containerd"}"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs"]
[grpc]
  address = "{self.socket}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [{directories}]
    conf_dir = "{self.directory / "cni"}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause.IMAGE}"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{registries()}"
"""

    def kubelet(self) -> dict[str, Any]:
        """Return the kubelet's configuration.

        EKS's AMI evicts pods at 10 % of free disk. Here the disk is the learner's own and may be fuller, so the limits
        are low.
        """
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.certificate("ca.crt"))},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroups.NAME}/{self.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "clusterDNS": [DNS],
            "clusterDomain": "cluster.local",
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"},
            "imageGCHighThresholdPercent": 100,
            "maxPods": MAX_PODS,
            "oomScoreAdj": 0,
            "podLogsDir": str(self.directory / "logs"),
            "providerID": f"aws:///{self.zone}/i-{self.number:017x}",
            "registryPullQPS": 0,
            "serializeImagePulls": False,
            "volumePluginDir": str(self.directory / "volume-plugins"),
        }

    def proxy(self) -> dict[str, Any]:
        """Return kube-proxy's configuration; it does not change the connection tracking limits of the host's kernel."""
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
            "clusterCIDR": settings.pod_cidr,
            "mode": "iptables",
            "hostnameOverride": self.name,
            "healthzBindAddress": "127.0.0.1",
            "nodePortAddresses": ["primary"],
            "conntrack": {"maxPerCore": 0, "min": 0},
        }

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text, encoding="utf-8")

    def _answers(self) -> bool:
        return self.socket.exists() and self._ctr("version").returncode == 0

    def _ctr(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [str(settings.bin / "ctr"), "--address", str(self.socket), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=waiting.bound(TIMEOUT), check=False)


def labels_flag(labels: dict[str, str]) -> str:
    """Return labels in the format of the kubelet's flag."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def registries() -> Path:
    """Return the directory of hosts.toml files (https://github.com/containerd/containerd/blob/main/docs/hosts.md)."""
    return pki.directory() / "registries"


def write_registries() -> None:
    """Direct pulls from the account's ECR name to the read-only front, with no server to fall back to."""
    directory = registries() / settings.registry
    directory.mkdir(parents=True)
    front = f"http://{settings.region_ip}:{settings.ports.pull}"
    (directory / "hosts.toml").write_text(
        f'server = "http://127.0.0.1:1"\n\n[host."{front}"]\n  capabilities = ["pull", "resolve"]\n', encoding="utf-8"
    )
