"""Certificates that the root issues: of nodes (from a CSR, of which only the public key counts) and of etcd's peers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shoal.ca.root import BACKDATE, key_pem, load_key
from shoal.model.errors import InvalidArgument
from shoal.model.objects import RootCA
from shoal.model.swarm_spec import CAConfig

WORKER_OU = "swarm-worker"
MANAGER_OU = "swarm-manager"
CA_NAME = "swarm-ca"
DEFAULT_EXPIRY = timedelta(days=90)


def role_ou(role: str) -> str:
    """The certificate's OU for `worker` or `manager`."""
    return MANAGER_OU if role == "manager" else WORKER_OU


def expiry_of(config: CAConfig) -> timedelta:
    """How long new certificates are valid in a cluster with this configuration."""
    return timedelta(microseconds=config.node_cert_expiry // 1000) if config.node_cert_expiry else DEFAULT_EXPIRY


def new_csr() -> tuple[bytes, bytes]:
    """A fresh key and a CSR with an empty subject for it, both in PEM: `(key, csr)`."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return key_pem(key), csr.public_bytes(serialization.Encoding.PEM)


def issue_node(
    root: RootCA, csr: bytes, *, node_id: str, role: str, cluster_id: str, now: datetime, expiry: timedelta
) -> bytes:
    """A node's certificate in PEM: CN node id, OU by role, O cluster id. InvalidArgument when the CSR is unusable."""
    ou = role_ou(role)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ou),
            x509.NameAttribute(NameOID.COMMON_NAME, node_id),
        ]
    )
    names = [ou, node_id, *([CA_NAME] if role == "manager" else [])]
    return _issue(root, csr, subject, [x509.DNSName(name) for name in names], now=now, expiry=expiry)


def peer_name(node_id: str) -> str:
    """The host in the URL of a manager's etcd, and in its certificate (see `store.etcd_names`)."""
    return f"etcd-{node_id}"


def issue_peer(root: RootCA, csr: bytes, *, node_id: str, cluster_id: str, now: datetime, expiry: timedelta) -> bytes:
    """The certificate in PEM that a manager's etcd shows to its peers, which dial `peer_name`."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
            x509.NameAttribute(NameOID.COMMON_NAME, peer_name(node_id)),
        ]
    )
    names = [x509.DNSName(MANAGER_OU), x509.DNSName(peer_name(node_id))]
    return _issue(root, csr, subject, names, now=now, expiry=expiry)


def _issue(
    root: RootCA, csr: bytes, subject: x509.Name, names: Sequence[x509.GeneralName], *, now: datetime, expiry: timedelta
) -> bytes:
    issuer = x509.load_pem_x509_certificate(root.certificate)
    key = load_key(root.key)
    public = _public_key(csr)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=True, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(min(now + expiry, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _public_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr)
        public = request.public_key()
        if not request.is_signature_valid:
            raise ValueError("bad signature")
    except ValueError as fault:
        raise InvalidArgument(f"invalid certificate signing request: {fault}") from fault
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise InvalidArgument("invalid certificate signing request: only ECDSA keys are accepted")
    return public
