"""``python -m rehearsal.kubernetes``: gets the programs, and creates or removes the cluster inside the sandbox."""

from __future__ import annotations

import argparse
import subprocess
import sys

import httpx

from rehearsal.kubernetes import addons, build, cluster, official
from rehearsal.kubernetes.download import NotAvailable
from rehearsal.sandbox import SandboxError, identity
from rehearsal.settings import settings

MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")


def main() -> int:
    """Parse the command line and return an exit code: 0 done, 1 failed, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.kubernetes")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="download or build the programs, once")
    verbs.add_parser("pin", help="write the checksums that the projects publish to official.toml")
    making = verbs.add_parser("up", help="create the control plane")
    making.add_argument("--name", required=True)
    making.add_argument("--version", required=True)
    making.add_argument("--authentication-mode", choices=MODES, default="API_AND_CONFIG_MAP")
    installing = verbs.add_parser("install", help="install add-ons")
    installing.add_argument("addons", nargs="+")
    joining = verbs.add_parser("join", help="start the nodes")
    joining.add_argument("--nodes", type=int, default=2)
    joining.add_argument("--role", default="", help="the nodes' role, to map in aws-auth")
    verbs.add_parser("leave", help="remove the nodes")
    verbs.add_parser("down", help="remove the cluster")
    given = parser.parse_args()
    if given.verb == "build":
        return build.main()
    if given.verb == "pin":
        return _pin()
    if given.verb == "up" and given.version != settings.kubernetes_version.rpartition(".")[0]:
        parser.error(f"the rehearsal builds Kubernetes {settings.kubernetes_version}, not {given.version}")
    if given.verb == "join" and not 1 <= given.nodes <= settings.most_nodes:
        parser.error(f"--nodes must be between 1 and {settings.most_nodes}")
    return _inside(given)


def _pin() -> int:
    try:
        official.pin()
    except NotAvailable as error:
        print(f"pin: {error}", file=sys.stderr)
        return 1
    return 0


def _inside(given: argparse.Namespace) -> int:
    if not identity.inside():
        print("the cluster runs inside the sandbox: use rehearsal.sandbox.entry.run", file=sys.stderr)
        return 2
    try:
        _run(given)
    except (SandboxError, TimeoutError, httpx.HTTPError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"cluster: {error}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    match given.verb:
        case "up":
            cluster.up(given.name, given.authentication_mode)
        case "install":
            addons.install(given.addons)
        case "join":
            cluster.join(given.nodes, given.role)
        case "leave":
            cluster.leave()
        case _:
            cluster.down()


if __name__ == "__main__":
    sys.exit(main())
