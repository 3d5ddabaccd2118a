"""The swarm's root: one self-signed certificate that every node trusts. Its key is only ever in the store."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shoal.model.errors import ShoalError
from shoal.model.objects import RootCA, TLSInfo

VALIDITY = timedelta(days=20 * 365)
BACKDATE = timedelta(hours=1)
"""Certificates start an hour in the past, so that clocks may differ a little (SwarmKit does the same)."""

Key = ec.EllipticCurvePrivateKey


def new_root(now: datetime) -> RootCA:
    """A fresh root: ECDSA P-256, CN `swarm-ca`, valid 20 years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "swarm-ca")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return RootCA(certificate=certificate.public_bytes(serialization.Encoding.PEM), key=key_pem(key))


def key_pem(key: Key) -> bytes:
    """A private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> Key:
    """The EC private key in `pem`. Raises ValueError when it is something else."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an ECDSA key")
    return key


def digest(bundle: bytes) -> bytes:
    """SHA-256 of the exact PEM bytes: the fingerprint in join tokens."""
    return hashlib.sha256(bundle).digest()


def check_digest(bundle: bytes, expected: bytes) -> None:
    """Raises ShoalError, in docker's words, when a downloaded root is not the one that the token names."""
    if digest(bundle) != expected:
        raise ShoalError(f"remote CA does not match fingerprint. Expected: {expected.hex()}")


def tls_info(bundle: bytes) -> TLSInfo:
    """What a node reports of its trust: the root in PEM, subject and public key of the issuer in DER."""
    certificate = x509.load_pem_x509_certificate(bundle)
    public = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return TLSInfo(
        trust_root=bundle.decode(),
        cert_issuer_subject=certificate.subject.public_bytes(),
        cert_issuer_public_key=public,
    )
