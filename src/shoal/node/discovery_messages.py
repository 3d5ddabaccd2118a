"""What nodes say to each other to find their managers again, and how a datagram proves who says it. Pure.

Over TLS a message is plain JSON: the connection proves the sender. A datagram carries the sender's certificate and a
signature: `MAGIC`, the lengths of certificate and signature (two bytes each, big-endian), certificate (DER), signature
(ECDSA, SHA-256, over `CONTEXT` and the text), text. Nothing in a message is secret: ids and addresses only.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shoal.agent.remotes import Remote
from shoal.ca.files import KeyPair
from shoal.ca.identity import Identity, identity_of
from shoal.ca.root import load_key
from shoal.kit.clock import nanoseconds
from shoal.model.base import Struct, decode, encode
from shoal.model.errors import InvalidArgument

MAGIC = b"shoal\x01"
CONTEXT = b"shoal discovery, version 1\0"
MOST = 7
"""Managers in one message: as many as a datagram holds without fragments, and an answer is never much larger than
the question that caused it."""
LARGEST = 4096
"""Bytes of a message, signed or not."""
SKEW = timedelta(minutes=2)
"""How far two machines' clocks may differ for datagrams to be believed."""

_HEAD = len(MAGIC) + 4
_DAMAGED = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What reading a certificate raises that is none."""


class Refused(Exception):
    """A datagram that proves nothing: damaged, forged, old, or another swarm's."""


class Message(Struct, frozen=True):
    """One question, answer or announcement."""

    nonce: bytes
    """Never used twice."""
    moment: int
    """When it was written, nanoseconds since 1970."""
    asks: bool = False
    """The sender has lost its managers and wants an answer."""
    answers: bytes = b""
    """The nonce of the question that this answers."""
    addr: str = ""
    """The sender's own `host:port` of the node protocol, when it is a manager."""
    managers: list[Remote] = []
    """Managers that the sender knows; a hint, to be tried."""


def written(message: Message) -> bytes:
    """The text of a message."""
    return encode(message)


def read(text: bytes) -> Message:
    """A message from its text. Raises Refused; addresses that make no sense are left out."""
    if len(text) > LARGEST:
        raise Refused("too large")
    try:
        found = decode(text, Message)
    except (InvalidArgument, UnicodeDecodeError, RecursionError) as fault:
        raise Refused(str(fault)) from fault
    managers = [one for one in found.managers[:MOST] if one.node_id and is_address(one.addr)]
    return Message(
        nonce=found.nonce[:32],
        moment=found.moment,
        asks=found.asks,
        answers=found.answers[:32],
        addr=found.addr if is_address(found.addr) else "",
        managers=[Remote(node_id=one.node_id[:64], addr=one.addr) for one in managers],
    )


def is_address(addr: str) -> bool:
    """Whether it is `ip:port` (IPv6 in brackets) that a manager can have."""
    host, _, port = addr.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return 0 < number < 65536 and not address.is_unspecified and not address.is_multicast


def sealed(message: Message, pair: KeyPair) -> bytes:
    """The signed datagram of a message, by the node with this certificate and key."""
    text = written(message)
    certificate = x509.load_pem_x509_certificate(pair.certificate).public_bytes(serialization.Encoding.DER)
    signature = load_key(pair.key).sign(CONTEXT + text, ec.ECDSA(hashes.SHA256()))
    lengths = len(certificate).to_bytes(2, "big") + len(signature).to_bytes(2, "big")
    return MAGIC + lengths + certificate + signature + text


def unsealed(datagram: bytes, root: bytes, cluster_id: str, now: datetime) -> tuple[Identity, Message]:
    """Who signed a datagram, and what it says. Raises Refused unless `root` (PEM) vouches for a node of this swarm.

    Whether it is fresh is for the caller to ask (`is_fresh`): an answer is fresh by the question that it names.
    """
    if len(datagram) > LARGEST or not datagram.startswith(MAGIC) or len(datagram) < _HEAD:
        raise Refused("not a message")
    middle = _HEAD + int.from_bytes(datagram[_HEAD - 4 : _HEAD - 2], "big")
    end = middle + int.from_bytes(datagram[_HEAD - 2 : _HEAD], "big")
    identity, key = _signer(datagram[_HEAD:middle], root, now)
    if identity.cluster_id != cluster_id:
        raise Refused("another swarm's")
    text = datagram[end:]
    try:
        key.verify(datagram[middle:end], CONTEXT + text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as fault:
        raise Refused("the signature is wrong") from fault
    return identity, read(text)


def is_fresh(message: Message, now: datetime) -> bool:
    """Whether it was written about now, whoever's clock is right."""
    return abs(message.moment - nanoseconds(now)) <= SKEW / timedelta(microseconds=1) * 1000


def _signer(der: bytes, root: bytes, now: datetime) -> tuple[Identity, ec.EllipticCurvePublicKey]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        identity = identity_of(certificate.public_bytes(serialization.Encoding.PEM))
        key = certificate.public_key()
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        issuers = x509.load_pem_x509_certificates(root)
    except _DAMAGED as fault:
        raise Refused(f"no node's certificate: {fault}") from fault
    if not isinstance(key, ec.EllipticCurvePublicKey) or not begin <= now <= end:
        raise Refused("the certificate is not valid")
    if not any(_issued(certificate, issuer) for issuer in issuers):
        raise Refused("the certificate is another root's")
    return identity, key


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*_DAMAGED, InvalidSignature):
        return False
    return True
