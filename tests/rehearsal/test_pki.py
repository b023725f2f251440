"""The certificates and kubeconfigs of a cluster."""

from __future__ import annotations

import base64
import dataclasses
import ssl
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from rehearsal.kubernetes import pki
from rehearsal.settings import settings


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(pki, "settings", dataclasses.replace(settings, cache=tmp_path))
    pki.directory().mkdir(parents=True)
    pki.create()
    pki.admit("node-1")
    return tmp_path


def read(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.certificate(name).read_bytes())


@pytest.mark.parametrize(
    ("name", "user", "group"),
    [
        ("admin", "kubernetes-admin", "kubeadm:cluster-admins"),
        ("super-admin", "kubernetes-super-admin", "system:masters"),
        ("controller-manager", "system:kube-controller-manager", "system:authenticated"),
        ("scheduler", "system:kube-scheduler", "system:authenticated"),
        ("kube-proxy", "system:kube-proxy", "system:authenticated"),
        ("node-1", "system:node:node-1", "system:nodes"),
    ],
)
def test_kubeconfig_is_of_its_component(name: str, user: str, group: str) -> None:
    document = yaml.safe_load(pki.kubeconfig(name).read_text())
    (cluster,), (identity,) = document["clusters"], document["users"]
    assert cluster["cluster"]["server"] == settings.api_url
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == pki.certificate("ca.crt").read_bytes()
    issued = x509.load_pem_x509_certificate(base64.b64decode(identity["user"]["client-certificate-data"]))
    names = {NameOID.COMMON_NAME: user, NameOID.ORGANIZATION_NAME: group}
    assert {oid: issued.subject.get_attributes_for_oid(oid)[0].value for oid in names} == names
    issued.verify_directly_issued_by(read("ca.crt"))


@pytest.mark.parametrize(
    ("name", "authority"),
    [
        ("apiserver", "ca"),
        ("apiserver-kubelet-client", "ca"),
        ("apiserver-etcd-client", "etcd/ca"),
        ("etcd/server", "etcd/ca"),
        ("etcd/peer", "etcd/ca"),
        ("front-proxy-client", "front-proxy-ca"),
    ],
)
def test_certificate_is_of_its_authority_and_of_no_other(name: str, authority: str) -> None:
    for other in ("ca", "etcd/ca", "front-proxy-ca"):
        if other == authority:
            read(f"{name}.crt").verify_directly_issued_by(read(f"{other}.crt"))
        else:
            with pytest.raises(ValueError, match="Issuer"):
                read(f"{name}.crt").verify_directly_issued_by(read(f"{other}.crt"))


def test_api_server_has_the_names_by_which_pods_and_nodes_call_it() -> None:
    alternatives = read("apiserver.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"kubernetes.default.svc", "localhost"} <= set(alternatives.get_values_for_type(x509.DNSName))
    addresses = {str(each) for each in alternatives.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "10.96.0.1", settings.region_ip}


def test_only_the_owner_reads_keys(run: Path) -> None:
    private = [path for path in run.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    private += run.rglob("*.conf")
    assert len(private) == 18
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}


def test_http_client_gets_the_administrators(run: Path) -> None:
    assert run
    for name in pki.FOR_CLIENTS:
        context = ssl.create_default_context(cafile=str(pki.certificate("ca.crt")))
        context.load_cert_chain(pki.directory() / f"{name}.certificate", pki.directory() / f"{name}.key")
