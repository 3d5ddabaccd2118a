"""Certificates: one authority per store, one client identity, one server identity per machine.

EC P-256 keys: a quarter of a millisecond each, and every TLS library of today reads them. A server's certificate
names the machine as well as its address: who checks by name goes on working when the address changes, and `start`
issues a new one for those who check by address.
"""

from __future__ import annotations

import getpass
import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shoal.machine.errors import MachineError
from shoal.machine.files import write_atomic
from shoal.machine.probe import RENEW_BEFORE

VALIDITY = timedelta(days=1080)
BACKDATED = timedelta(minutes=5)


class Pair(NamedTuple):
    """Paths of a certificate and its key."""

    certificate: Path
    key: Path


def ensure_authority(pair: Pair, now: datetime) -> bool:
    """Make the authority if there is none; True when it was made.

    One that is about to expire is made again with its old key and name: what it signed stays good under the new one.
    Raises MachineError for a key without certificate, and for one whose certificate is another key's.
    """
    if pair.certificate.exists():
        return _renew_authority(pair, now)
    if pair.key.exists():
        raise MachineError("certificate authority key already exists")
    _issue_authority(pair, ec.generate_private_key(ec.SECP256R1()), _subject(_user()), now)
    return True


def replace_authority(pair: Pair, now: datetime) -> None:
    """A new authority with a new key: whatever the old one signed is signed by nobody any more."""
    if pair.certificate.exists() and not pair.key.exists():
        raise MachineError(f"the certificate authority's key is missing: {pair.key}")
    old = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).subject if pair.certificate.exists() else None
    _issue_authority(pair, ec.generate_private_key(ec.SECP256R1()), old or _subject(_user()), now)


def _renew_authority(pair: Pair, now: datetime) -> bool:
    try:
        old = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    except ValueError as fault:
        raise MachineError(f"{pair.certificate} is no certificate") from fault
    if not pair.key.exists():
        return False
    key = _key_of(pair, old)
    if old.not_valid_after_utc - now >= RENEW_BEFORE:
        return False
    _issue_authority(pair, key, old.subject, now)
    return True


def _key_of(authority: Pair, certificate: x509.Certificate) -> Any:
    """The authority's key. Raises MachineError when it is missing, damaged, or another one than its certificate's."""
    try:
        key = _load_key(authority.key)
    except FileNotFoundError as fault:
        raise MachineError(f"the certificate authority's key is missing: {authority.key}") from fault
    except (ValueError, TypeError) as fault:
        raise MachineError(f"{authority.key} is no key that can be read: {fault}") from fault
    # Two files cannot be replaced in one step: whatever ended `replace_authority` between them is found here.
    if key.public_key() != certificate.public_key():
        raise MachineError(
            f"{authority.certificate} and {authority.key} do not belong together: `regenerate-certs --client-certs` "
            "with the machines of this store makes both anew. Where it has no machines, remove both files"
        )
    return key


def _load_key(path: Path) -> Any:
    return serialization.load_pem_private_key(path.read_bytes(), password=None)


def _issue_authority(pair: Pair, key: Any, subject: x509.Name, now: datetime) -> None:
    builder = _builder(subject, subject, key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    _write(pair, builder.sign(key, hashes.SHA256()), key)


def ensure_client(pair: Pair, authority: Pair, now: datetime, *, fresh: bool = False) -> bool:
    """Make the client identity if there is none, or it is about to expire, or `fresh`; True when it was made."""
    if pair.certificate.exists():
        if not fresh and (not authority.key.exists() or _lasts(pair, authority, now)):
            return False
    elif pair.key.exists():
        raise MachineError("client key already exists")
    _issue(pair, authority, owner=f"{_user()}.<bootstrap>", names=[], purpose=ExtendedKeyUsageOID.CLIENT_AUTH, now=now)
    return True


def issue_server(pair: Pair, authority: Pair, machine: str, names: Iterable[str], now: datetime) -> None:
    """Make the server identity of `machine`, valid for `names` (host names and addresses)."""
    _issue(
        pair,
        authority,
        owner=f"{_user()}.{machine}",
        names=list(names),
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        now=now,
    )


def server_names(machine: str, address: str, extra: Iterable[str] = ()) -> list[str]:
    """What a machine's certificate is valid for: `extra` (--tls-san), its address, its name, and itself from inside."""
    return list(dict.fromkeys(name for name in (*extra, address, machine, "localhost", "127.0.0.1") if name))


def check_names(names: Iterable[str]) -> None:
    """Whether a certificate can be valid for these. Raises MachineError."""
    for name in names:
        _general_name(name)


def _lasts(pair: Pair, authority: Pair, now: datetime) -> bool:
    certificate = _signed_by(pair, authority)
    return certificate is not None and certificate.not_valid_after_utc - now >= RENEW_BEFORE


def _signed_by(pair: Pair, authority: Pair) -> x509.Certificate | None:
    """The pair's certificate, when it can be read and `authority` issued it."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))
    except (OSError, ValueError, TypeError, InvalidSignature):
        return None
    return certificate


def serves(shown: bytes, address: str, now: datetime) -> bool:
    """Whether the certificate that an engine shows (DER) names the address (for docker) and has time left."""
    certificate = x509.load_der_x509_certificate(shown)
    try:
        covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return _general_name(address) in covered and certificate.not_valid_after_utc - now >= RENEW_BEFORE


def is_same(pair: Pair, shown: bytes) -> bool:
    """Whether the certificate that an engine shows (DER) is this one."""
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    return certificate.public_bytes(serialization.Encoding.DER) == shown


def is_fit(pair: Pair, authority: Pair, names: Iterable[str], now: datetime) -> bool:
    """Whether certificate and key of a server are there and a pair, for `names`, of this authority, with time left."""
    certificate = _signed_by(pair, authority)
    if certificate is None:
        return False
    try:
        covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        own_key = _load_key(pair.key).public_key() == certificate.public_key()
    except (x509.ExtensionNotFound, FileNotFoundError, ValueError, TypeError):
        return False
    if not own_key or certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return False
    return set(map(_general_name, names)) <= set(covered)


def _issue(
    pair: Pair, authority: Pair, *, owner: str, names: list[str], purpose: x509.ObjectIdentifier, now: datetime
) -> None:
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    signer = _key_of(authority, issuer)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_subject(owner), issuer.subject, key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
        critical=False,
    )
    if names:
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    _write(pair, builder.sign(signer, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALIDITY)
    )


def _usage(*, sign_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=True, key_cert_sign=sign_certificates, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _subject(owner: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, owner[:64])])


def _general_name(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        # Without the zone of fe80::1%eth0: that is this computer's affair, and no certificate can hold it.
        return x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))
    try:
        return x509.DNSName(name if name.isascii() else name.encode("idna").decode())
    except ValueError as fault:
        raise MachineError(f'no certificate can be valid for "{name}": it is no address and no host name') from fault


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _write(pair: Pair, certificate: x509.Certificate, key: Any) -> None:
    for path in pair:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    # The key first: a certificate without its key would never be made again.
    write_atomic(pair.key, secret, 0o600)
    write_atomic(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
