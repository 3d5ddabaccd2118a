"""The store in memory keeps a store's promises; values are encoded as they should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kit.clock import LoopClock
from shoal.model.objects import Network, Service
from shoal.model.swarm_spec import NetworkSpec, ServiceSpec
from shoal.store.base import NotLeader, Put, Store
from shoal.store.codec import Codec, new_store_keys, object_key, parse_object_key
from shoal.store.leadership import LeaderFence
from shoal.store.memory import MemoryStore
from tests.store_suite import StoreSuite, service


class TestMemoryStore(StoreSuite):
    """The conformance suite."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(LoopClock())


async def test_a_stale_fence_is_refused() -> None:
    """A commit under a fence that no longer leads raises NotLeader."""
    store = MemoryStore()
    await store.commit([Put(service("web"))], fence=LeaderFence(1))
    with pytest.raises(NotLeader):
        await store.commit([Put(service("b"))], fence=LeaderFence(0))


@given(st.text(min_size=1, max_size=30), st.integers(1, 2**62))
def test_a_value_decodes_only_at_its_key(name: str, revision: int) -> None:
    """What is encoded decodes at its own key, with etcd's revision as its version, and nowhere else."""
    codec = Codec(new_store_keys())
    thing = Service(id="abc", spec=ServiceSpec(name=name))
    key, value = object_key(thing), codec.encode(thing)
    found = codec.decode(key, value, revision)
    assert isinstance(found, Service)
    assert (found.spec, found.version.index) == (thing.spec, revision)
    assert parse_object_key(key) == (Service, "abc")
    assert name not in ("abc",) and (len(name) < 4 or name.encode() not in value)
    for wrong in (value[:-1] + bytes([value[-1] ^ 1]), value[:4], b""):
        with pytest.raises(ValueError, match="unreadable"):
            codec.decode(key, wrong, revision)
    with pytest.raises(ValueError, match="unreadable"):
        codec.decode(key + b"d", value, revision)
    with pytest.raises(ValueError, match="unreadable"):
        Codec(new_store_keys()).decode(key, value, revision)


def test_names_are_hashed_per_kind_and_without_case() -> None:
    """The key of a name hides it, ignores case and differs between kinds and swarms."""
    keys = new_store_keys()
    codec = Codec(keys)
    web = Service(id="1", spec=ServiceSpec(name="Web"))
    assert codec.name_key(web) == codec.name_key(Service(id="2", spec=ServiceSpec(name="wEB")))
    assert codec.name_key(web) != codec.name_key(Network(id="1", spec=NetworkSpec(name="web")))
    assert codec.name_key(web) != Codec(new_store_keys()).name_key(web)
    assert b"web" not in (codec.name_key(web) or b"").lower()
    assert str(next(iter(keys.keys.values()))) not in repr(keys)
