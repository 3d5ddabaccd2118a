"""Objects <-> what etcd keeps: keys in the clear, values encrypted.

    /leader               the node that leads (see `leadership`)
    /o/<kind>/<id>        an object
    /u/<kind>/<hash>      a unique name is taken; the hash is keyed, so a copy of the data does not tell the name

A value is `version (1) | key id (4) | nonce (12) | AES-256-GCM ciphertext`, with the etcd key as associated data: a
value that was moved to another key does not decrypt. The plain text is MessagePack of the struct, field names
included, so that fields can be added later.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from shoal.model.base import Struct, known
from shoal.model.objects import StoreObject, Version
from shoal.store.view import KINDS, kind_of, name_of

LEADER_KEY = b"/leader"
OBJECTS = b"/o/"
NAMES = b"/u/"
WATCHED = (LEADER_KEY, b"/p")
"""The key range (end excluded) that a view follows: the leader and all objects, without the names."""

_FORMAT = 1
_HEADER = 1 + 4 + 12
_encoder = msgspec.msgpack.Encoder()
_decoders = {kind: msgspec.msgpack.Decoder(known(type_)) for kind, type_ in KINDS.items()}


class StoreKeys(Struct, frozen=True):
    """The data keys of a swarm: `keys` by id, `current` encrypts, `names` hashes. Every manager has them, on disk in
    a 0600 file and never in the store itself."""

    current: int
    keys: dict[int, bytes]
    names: bytes

    def __repr__(self) -> str:
        return f"StoreKeys(current={self.current})"


def new_store_keys() -> StoreKeys:
    """Fresh keys from the operating system's randomness."""
    return StoreKeys(current=1, keys={1: os.urandom(32)}, names=os.urandom(32))


class Codec:
    """Encodes and decodes under one set of keys."""

    def __init__(self, keys: StoreKeys) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.keys.items()}
        self._current = keys.current
        self._names = keys.names

    def seal(self, key: bytes, plain: bytes) -> bytes:
        """`plain` encrypted for the etcd key `key`."""
        nonce = os.urandom(12)
        head = bytes([_FORMAT]) + self._current.to_bytes(4, "big") + nonce
        return head + self._ciphers[self._current].encrypt(nonce, plain, key)

    def unseal(self, key: bytes, value: bytes) -> bytes:
        """What `seal` was given. Raises ValueError when the value is damaged, moved, or of a key that is not known."""
        cipher = self._ciphers.get(int.from_bytes(value[1:5], "big"))
        if len(value) < _HEADER or value[0] != _FORMAT or cipher is None:
            raise ValueError(f"unreadable value at {key!r}")
        try:
            return cipher.decrypt(value[5:_HEADER], value[_HEADER:], key)
        except InvalidTag as fault:
            raise ValueError(f"unreadable value at {key!r}") from fault

    def encode(self, thing: StoreObject) -> bytes:
        """An object's value. Its version is not in it: that is the revision at which etcd writes it."""
        return self.seal(object_key(thing), _encoder.encode(thing))

    def decode(self, key: bytes, value: bytes, revision: int) -> StoreObject:
        """The object at `key`, written at `revision`. Raises ValueError."""
        kind = key.split(b"/", 3)[2].decode()
        thing = _decoders[kind].decode(self.unseal(key, value))
        return replace(thing, version=Version(index=revision))

    def name_key(self, thing: StoreObject) -> bytes | None:
        """The key that says `thing`'s name is taken; None where names need not be unique."""
        name = name_of(thing)
        if name is None:
            return None
        kind = kind_of(thing)
        return (
            NAMES
            + f"{kind}/".encode()
            + hmac.digest(self._names, f"{kind}/{name}".encode(), hashlib.sha256).hex().encode()
        )


def object_key(thing: StoreObject) -> bytes:
    """`/o/service/<id>`."""
    return OBJECTS + f"{kind_of(thing)}/{thing.id}".encode()


def parse_object_key(key: bytes) -> tuple[type[StoreObject], str]:
    """Kind and id in an object's key."""
    _, _, kind, id = key.decode().split("/", 3)
    return KINDS[kind], id
