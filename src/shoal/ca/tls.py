"""TLS as the node protocol wants it: 1.2 or newer, ALPN `h2`, the swarm's root as the only trust.

A server lets clients in without a certificate (a joining node has none) and its services look at who is there.
Clients check the server's name: `swarm-manager`, or `swarm-ca` while they have no certificate of their own.
"""

from __future__ import annotations

import ssl

from grpclib.config import Configuration

from shoal.ca.files import CertificateFiles

MANAGER_NAME = "swarm-manager"
ISSUER_NAME = "swarm-ca"


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """For a manager's port. Call `reload` after a renewal: connections made from then on use the new certificate."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(files.root)
    reload(context, files)
    return context


def client_context(files: CertificateFiles) -> ssl.SSLContext:
    """For a node with a certificate; name the server `MANAGER_NAME` (see `named`)."""
    context = _client(files.root.read_text())
    reload(context, files)
    return context


def joining_context(bundle: bytes) -> ssl.SSLContext:
    """For a node that has the root (PEM) but no certificate yet; name the server `ISSUER_NAME`."""
    return _client(bundle.decode())


def unverified_context() -> ssl.SSLContext:
    """For fetching the root, which is then checked against the token's digest. Trust nothing else that comes."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def reload(context: ssl.SSLContext, files: CertificateFiles) -> None:
    """Take certificate and key from the files again."""
    context.load_cert_chain(files.certificate, files.key)


def named(server_name: str) -> Configuration:
    """The grpclib configuration that expects `server_name` in the server's certificate, whatever the address."""
    return Configuration(ssl_target_name_override=server_name)


def _client(bundle: str) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bundle)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
