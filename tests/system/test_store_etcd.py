"""The replicated store, over real etcd members."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.ca.issue import peer_name
from shoal.kit.clock import SystemClock
from shoal.kit.tasks import background
from shoal.model.errors import OutOfSequence, ShoalError, Unavailable
from shoal.model.objects import Service
from shoal.store import etcd
from shoal.store.base import Delete, Fence, NotLeader, Put, Store
from shoal.store.codec import new_store_keys
from shoal.store.etcd import EtcdStore, open_store
from shoal.store.etcd_client import EtcdClient, EtcdError
from shoal.store.etcd_names import write_names
from shoal.store.etcd_process import EtcdProcess, MemberRemoved, run_etcd
from shoal.store.leadership import LeaderFence, Leadership
from shoal.store.upkeep import make_room
from tests.store_suite import StoreSuite, service, task
from tests.system import etcd as places
from tests.system.etcd import member, options
from tests.waiting import until

pytestmark = pytest.mark.system
KEYS = new_store_keys()
CLOCK = SystemClock()


class TestEtcdStore(StoreSuite):
    """The conformance suite."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with member(tmp_path / "m1") as (_, client), open_store(client, KEYS, CLOCK) as store:
            yield store


async def test_a_second_view_loads_everything_and_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager that comes later sees all that was written, in several pages, and then what is written by others."""
    monkeypatch.setattr(etcd, "PAGE", 7)
    async with member(tmp_path / "m1") as (_, client), open_store(client, KEYS, CLOCK) as one:
        web = service("web")
        await one.commit([Put(web), *(Put(task(web.id, slot)) for slot in range(50))])
        async with open_store(client, KEYS, CLOCK) as two:
            assert two.view.tasks_of_service(web.id) == one.view.tasks_of_service(web.id)
            await one.commit([Delete(one.view.all(Service)[0])])
            await until(lambda: not two.view.all(Service))


async def test_after_compaction_only_differences_are_published(tmp_path: Path) -> None:
    """A view that fell behind etcd's history reads everything again and publishes exactly what changed."""
    async with member(tmp_path / "m1") as (_, client), open_store(client, KEYS, CLOCK) as one:
        await one.commit([Put(service("kept")), Put(service("gone")), Put(service("changed"))])
        behind = EtcdStore(client, KEYS, CLOCK)
        await behind.load()
        by_name = {thing.spec.name: thing for thing in one.view.all(Service)}
        await one.commit(
            [Delete(by_name["gone"]), Put(replace(by_name["changed"], spec_version=5)), Put(service("new"))]
        )
        await client.compact(one.view.revision)
        with behind.subscribe() as changes:
            async with background(behind.follow()):
                batch = await asyncio.wait_for(anext(changes), 5)
        assert sorted(change.thing.spec.name for change in batch) == ["changed", "gone", "new"]
        assert behind.view.all(Service) == one.view.all(Service)


async def test_nothing_acknowledged_is_lost_when_etcd_is_killed(tmp_path: Path) -> None:
    """etcd killed with SIGKILL is started again; all commits are there and the store goes on by itself."""
    async with member(tmp_path / "m1") as (process, client), open_store(client, KEYS, CLOCK) as store:
        await store.commit([Put(service("a"))])
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda: _try(store, "b"))
        assert [thing.spec.name for thing in sorted(store.view.all(Service), key=_name)] == ["a", "b"]


async def test_a_large_commit_is_quick(tmp_path: Path) -> None:
    """A hundred tasks in one commit take milliseconds (a generous bound here: 100 ms)."""
    async with member(tmp_path / "m1") as (_, client), open_store(client, KEYS, CLOCK) as store:
        spans = []
        for _ in range(5):
            start = time.perf_counter()
            await store.commit([Put(task("s", slot)) for slot in range(100)])
            spans.append(time.perf_counter() - start)
        print(f"100 tasks in one commit: {sorted(spans)[2] * 1000:.1f} ms")
        assert min(spans) < 0.1


async def test_values_and_names_are_not_readable_on_disk(tmp_path: Path) -> None:
    """Neither a name nor a spec can be found in etcd's files, and the directory is for its user only."""
    async with member(tmp_path / "m1") as (process, client), open_store(client, KEYS, CLOCK) as store:
        await store.commit([Put(service("topsecretname"))])
        assert process.options.directory.stat().st_mode & 0o777 == 0o700
    files = [path for path in (tmp_path / "m1" / "data").rglob("*") if path.is_file()]
    assert files
    assert not any(b"topsecretname" in path.read_bytes() for path in files)


async def test_a_leader_is_fenced(tmp_path: Path) -> None:
    """The loops of a manager run under a fence that commits check; a fence from before a takeover is refused."""
    async with member(tmp_path / "m1") as (_, client), open_store(client, KEYS, CLOCK) as store:
        fences: list[Fence] = []

        async def body(fence: LeaderFence) -> None:
            fences.append(fence)
            await store.commit([Put(service(f"s{len(fences)}"))], fence=fence)
            await asyncio.Event().wait()

        leadership = Leadership(client, store, "node1")
        async with background(leadership.run(body)):
            await until(lambda: len(store.view.all(Service)) == 1)
            assert (leadership.leading, store.leader, store.leader_token) == (True, "node1", fences[0].token)
            await store.lead("node2")
            await until(lambda: len(fences) == 2)
            with pytest.raises(NotLeader):
                await store.commit([Put(service("late"))], fence=fences[0])
        behind = EtcdStore(client, KEYS, CLOCK)  # one that has not heard of the takeover: etcd itself refuses
        with pytest.raises(NotLeader):
            await behind.commit([Put(service("late"))], fence=fences[0])


async def test_three_members_survive_the_leader(tmp_path: Path) -> None:
    """Members join as learners and are promoted; with the leader killed another leads and all commits are there."""
    async with AsyncExitStack() as stack:
        members = await _three(stack, tmp_path)
        stores = [await stack.enter_async_context(open_store(client, KEYS, CLOCK)) for _, client in members]
        leaders: list[int] = []
        committed: list[str] = []

        async def body(index: int, fence: Fence) -> None:
            leaders.append(index)
            name = f"by{len(leaders)}"  # a busy machine may have more elections than this test asks for
            await stores[index].commit([Put(service(name))], fence=fence)
            committed.append(name)
            await asyncio.Event().wait()

        def seen(index: int) -> bool:
            return {thing.spec.name for thing in stores[index].view.all(Service)} >= set(committed)

        async def lead(index: int) -> None:
            await Leadership(members[index][1], stores[index], f"n{index}").run(lambda fence: body(index, fence))

        await stack.enter_async_context(background(*(lead(index) for index in range(3))))
        await until(lambda: committed and all(seen(index) for index in range(3)))
        first = leaders[-1]
        os.kill(members[first][0].pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            before = len(committed)
            await until(lambda: leaders[-1] != first and len(committed) > before, timeout=30)
            print(f"takeover after {time.monotonic() - start:.2f} s (fast elections)")
            await until(lambda: seen(leaders[-1]))
        finally:
            os.kill(members[first][0].pid, signal.SIGCONT)
        await until(lambda: all(seen(index) for index in range(3)), timeout=30)


async def test_without_a_quorum_commits_are_unavailable_and_a_new_cluster_can_be_forced(tmp_path: Path) -> None:
    """With two of three gone a commit says that there is no leader; force-new-cluster keeps all keys."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(member(tmp_path / "m1", "m1"))
        async with AsyncExitStack() as others:
            await _joined(others, tmp_path, "m2", first[1])
            async with open_store(first[1], KEYS, CLOCK) as store:
                await store.commit([Put(service("kept"))])
                await until(lambda: store.following)
                await others.aclose()
                await until(lambda: not store.following)
                with pytest.raises(Unavailable, match="The swarm does not have a leader"):
                    await store.commit([Put(service("lost"))])
    async with member(tmp_path / "m1", "m1", force_new_cluster=True) as (_, client):
        async with open_store(client, KEYS, CLOCK) as store:
            assert "kept" in [thing.spec.name for thing in store.view.all(Service)]
            await store.commit([Put(service("more"))])
        assert [one.name for one in await client.members()] == ["m1"]


async def test_members_that_swapped_their_addresses_meet_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comes back where another was, and dials the wrong ones until it is told: names are told apart by
    certificates, and no connection to a wrong one is kept."""
    port = places.free_port(places.loopback())
    monkeypatch.setattr(places, "free_port", lambda _: port)
    names = ("m1", "m2", "m3")
    async with AsyncExitStack() as stack:
        before = await (await _three(stack, tmp_path))[0][1].members()
    homes = [(tmp_path / name / "url").read_text() for name in names]
    for name, place in zip(names, [homes[1], homes[2], homes[0]], strict=True):
        (tmp_path / name / "url").write_text(place)
    started = [EtcdProcess(options(tmp_path / name, name)) for name in names]
    old = {peer_name(name): place.partition(":")[0] for name, place in zip(names, homes, strict=True)}
    for name in names:
        write_names(tmp_path / name, old)
    async with background(*(process.supervise() for process in started)), EtcdClient(started[0].socket) as client:
        with pytest.raises(ShoalError, match="did not start"):
            await started[0].ready(client, 1)
        places.write_all_names(tmp_path)
        await started[0].ready(client)
        assert await client.members() == before


async def test_a_members_namespace_holds_its_names_and_no_container(tmp_path: Path) -> None:
    """etcd sees its own /etc, nobody else does; a network that is mounted somewhere is not kept alive by it."""
    netns = tmp_path / "some.ns"
    netns.touch()
    subprocess.run(["unshare", f"--net={netns}", "true"], check=True)
    try:
        async with member(tmp_path / "m1", "m1") as (process, _):
            assert str(netns) in Path("/proc/self/mounts").read_text()
            assert str(netns) not in Path(f"/proc/{process.pid}/mounts").read_text()
            inside = Path(f"/proc/{process.pid}/root/etc/hosts").read_text()
            assert inside == (tmp_path / "m1/etc/hosts").read_text() != Path("/etc/hosts").read_text()
    finally:
        subprocess.run(["umount", netns], check=True)


async def test_members_reach_each_other_past_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's proxy is for registries; options of etcd in its environment are nobody's."""
    for name in ("HTTPS_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("ETCD_LISTEN_METRICS_URLS", "nonsense")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(member(tmp_path / "m1", "m1"))
        await _joined(stack, tmp_path, "m2", first[1])
        assert len(await first[1].members()) == 2


async def test_a_removed_member_says_so(tmp_path: Path) -> None:
    """A member that the others remove ends with MemberRemoved; the rest go on."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(member(tmp_path / "m1", "m1"))
        with pytest.raises(MemberRemoved):
            async with AsyncExitStack() as inner:
                _, second = await _joined(inner, tmp_path, "m2", first[1])
                await first[1].remove((await second.status()).member_id)
                await asyncio.wait_for(asyncio.Event().wait(), 10)
        assert [one.name for one in await first[1].members()] == ["m1"]


async def test_a_full_store_accepts_writes_again(tmp_path: Path) -> None:
    """When history has filled etcd's quota, commits say so; cleaning up gives the room back, nothing is lost."""
    directory = tmp_path / "m1"
    directory.mkdir()
    small = dataclasses.replace(options(directory, "m1"), quota=2 * 2**20)
    async with run_etcd(small) as (_, client), open_store(client, KEYS, CLOCK) as store:
        await store.commit([Put(service("web"))])
        with pytest.raises(ShoalError, match="database space exceeded"):
            for number in range(100):
                (web,) = store.view.all(Service)
                await store.commit([Put(replace(web, registry_auth=str(number) * 100_000))])
        await make_room(client, store.view.revision)

        async def written() -> bool:
            (web,) = store.view.all(Service)
            try:
                await store.commit([Put(replace(web, registry_auth="short"))])
            except OutOfSequence:  # etcd carries out the write that fills it, and refuses it: the view may not know yet
                return False
            return True

        await until(written)
        assert store.view.all(Service)[0].registry_auth == "short"


async def _joined(
    stack: AsyncExitStack, directory: Path, name: str, through: EtcdClient
) -> tuple[EtcdProcess, EtcdClient]:
    (directory / name).mkdir()
    initial = ",".join(f"{one.name}={one.peer_urls[0]}" for one in await through.members())
    await through.add_learner(options(directory / name, name).peer_url)
    process, client = await stack.enter_async_context(member(directory / name, name, initial=initial))
    own = (await client.status()).member_id

    async def promoted() -> bool:
        try:
            await through.promote(own)
        except EtcdError:
            return False
        return True

    await until(promoted)
    return process, client


async def _three(stack: AsyncExitStack, directory: Path) -> list[tuple[EtcdProcess, EtcdClient]]:
    first = await stack.enter_async_context(member(directory / "m1", "m1"))
    return [first, *[await _joined(stack, directory, name, first[1]) for name in ("m2", "m3")]]


async def _try(store: Store, name: str) -> bool:
    try:
        await store.commit([Put(service(name))])
    except Unavailable:
        return False
    return True


def _name(thing: Service) -> str:
    return thing.spec.name
