"""A stream that only a passphrase opens: scrypt makes the key, AES-GCM seals pieces of 64 kB each.

    "shoal-sealed-1\\n", salt (16 bytes), log2 of scrypt's n (1 byte), nonce prefix (7 bytes), pieces 16 bytes longer

A piece's nonce is the prefix, its number (4 bytes) and whether it is the last (1 byte): pieces can neither be left out
nor exchanged nor cut off at the end without being noticed. The header is authenticated with each piece.
"""

from __future__ import annotations

import os
from typing import IO

from shoal.machine.errors import MachineError

MAGIC = b"shoal-sealed-1\n"
PIECE = 1 << 16
_COST, _HIGHEST_COST = 15, 20
_TAG = 16


class WrongPassphrase(MachineError):
    """The passphrase is not the one that the file was sealed with, or the file was changed."""

    def __init__(self) -> None:
        super().__init__("the passphrase is wrong, or the file is damaged")


def _cipher(passphrase: str, salt: bytes, cost: int):  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return AESGCM(Scrypt(salt=salt, length=32, n=1 << cost, r=8, p=1).derive(passphrase.encode()))


class Sealer:
    """Writes to `sink`. Nothing is whole before `close`, which does not close the sink."""

    def __init__(self, sink: IO[bytes], passphrase: str) -> None:
        salt, self._prefix = os.urandom(16), os.urandom(7)
        self._header = MAGIC + salt + bytes([_COST]) + self._prefix
        self._cipher = _cipher(passphrase, salt, _COST)
        self._sink, self._held, self._number = sink, b"", 0
        sink.write(self._header)

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._held += data
        # The last piece is known at the end only, so that one is always held back.
        while len(self._held) > PIECE:
            self._put(self._held[:PIECE], last=False)
            self._held = self._held[PIECE:]
        return len(data)

    def flush(self) -> None:
        """Nothing: pieces are written when they are full."""

    def close(self) -> None:
        """Write the last piece."""
        self._put(self._held, last=True)

    def _put(self, data: bytes, *, last: bool) -> None:
        self._sink.write(self._cipher.encrypt(_nonce(self._prefix, self._number, last), data, self._header))
        self._number += 1


class Opener:
    """Reads what a Sealer wrote; `source` stands behind the magic. Raises WrongPassphrase at the first bad piece."""

    def __init__(self, source: IO[bytes], passphrase: str) -> None:
        rest = source.read(16 + 1 + 7)
        if len(rest) != 24 or not 1 <= rest[16] <= _HIGHEST_COST:
            raise WrongPassphrase
        self._header, self._prefix = MAGIC + rest, rest[17:]
        self._cipher = _cipher(passphrase, rest[:16], rest[16])
        self._source, self._opened, self._number = source, b"", 0
        self._next = source.read(PIECE + _TAG)
        if not self._next:
            raise WrongPassphrase

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end only."""
        wanted = size if size >= 0 else 1 << 62
        while len(self._opened) < wanted and self._next:
            self._open()
        data, self._opened = self._opened[:wanted], self._opened[wanted:]
        return data

    def _open(self) -> None:
        from cryptography.exceptions import InvalidTag

        piece, self._next = self._next, self._source.read(PIECE + _TAG)
        nonce = _nonce(self._prefix, self._number, not self._next)
        try:
            self._opened += self._cipher.decrypt(nonce, piece, self._header)
        except (InvalidTag, ValueError) as fault:
            raise WrongPassphrase from fault
        self._number += 1


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])
