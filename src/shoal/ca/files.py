"""A node's identity on disk: `swarm-root-ca.crt`, `swarm-node.crt`, `swarm-node.key` in one 0700 directory.

Key and certificate change together although they are two files: the new certificate is first written beside the old
one, then the key is replaced, then the certificate. `CertificateFiles.load` finishes or forgets what a crash
interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from shoal.ca.root import load_key
from shoal.kit.files import sync_directory, write_atomic


@dataclass(frozen=True)
class KeyPair:
    """A certificate (chain) and its key, in PEM."""

    certificate: bytes
    key: bytes

    def matches(self) -> bool:
        """Whether the key is the certificate's."""
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate)
            return load_key(self.key).public_key() == certificate.public_key()
        except ValueError:
            return False

    def __repr__(self) -> str:
        return "KeyPair(...)"


class CertificateFiles:
    """The certificate files in `directory`, which is made when it is first written to."""

    def __init__(self, directory: Path, name: str = "swarm-node") -> None:
        self.directory = directory
        self.root = directory / "swarm-root-ca.crt"
        self.certificate = directory / f"{name}.crt"
        self.key = directory / f"{name}.key"
        self._next = directory / f".{name}.crt.next"

    def load_root(self) -> bytes | None:
        """The trusted root in PEM, None when there is none."""
        return _read(self.root)

    def save_root(self, bundle: bytes) -> None:
        """Trust this root (PEM)."""
        write_file(self.root, bundle, 0o644)

    def load(self) -> KeyPair | None:
        """The pair, None when there is none (whole); an interrupted `save` is finished or undone."""
        key, certificate, following = _read(self.key), _read(self.certificate), _read(self._next)
        if key is None:
            return None
        if certificate is not None and (pair := KeyPair(certificate, key)).matches():
            self._next.unlink(missing_ok=True)
            return pair
        if following is not None and (pair := KeyPair(following, key)).matches():
            self._next.replace(self.certificate)
            return pair
        return None

    def save(self, pair: KeyPair) -> None:
        """Replace the pair; a crash leaves the old or the new one, never a mixture."""
        write_file(self._next, pair.certificate, 0o644)
        write_file(self.key, pair.key, 0o600)
        self._next.replace(self.certificate)
        sync_directory(self.directory)


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Write `path` whole or not at all, with `mode`, on disk when it returns; its directory is made 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, data, mode)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
