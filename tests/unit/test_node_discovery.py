"""The datagrams by which nodes find their managers: who is believed, and how much is listened to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.agent.remotes import Remote
from shoal.ca.files import KeyPair
from shoal.ca.issue import issue_node, issue_peer, new_csr
from shoal.ca.root import new_root
from shoal.kit.clock import nanoseconds
from shoal.node.discovery_limits import BURST, PER_SOURCE, REMEMBERED, Limits, Nonces
from shoal.node.discovery_messages import (
    LARGEST,
    MOST,
    SKEW,
    Message,
    Refused,
    is_address,
    is_fresh,
    read,
    sealed,
    unsealed,
    written,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROOT = new_root(NOW)
CLUSTER = "c1"


def node(name: str, role: str = "worker", *, root=ROOT, cluster: str = CLUSTER, days: int = 90) -> KeyPair:  # type: ignore[no-untyped-def]
    """A node's certificate and key."""
    key, csr = new_csr()
    expiry = timedelta(days=days)
    return KeyPair(issue_node(root, csr, node_id=name, role=role, cluster_id=cluster, now=NOW, expiry=expiry), key)


WORKER = node("w1")
MANAGERS = [Remote(node_id=f"manager{number:018}", addr=f"192.168.100.{100 + number}:2377") for number in range(MOST)]
QUESTION = Message(nonce=b"n" * 16, moment=nanoseconds(NOW), asks=True)


def opened(datagram: bytes, now: datetime = NOW):  # type: ignore[no-untyped-def]
    """What a node of the swarm makes of it."""
    return unsealed(datagram, ROOT.certificate, CLUSTER, now)


def test_a_signed_message_arrives_with_its_senders_identity() -> None:
    """Id and role are the certificate's, the text is what was sent."""
    message = Message(nonce=b"x" * 16, moment=1, answers=b"n" * 16, addr="10.0.0.1:2377", managers=MANAGERS)
    sender, got = opened(sealed(message, node("m1", "manager")))
    assert (sender.node_id, sender.is_manager, got) == ("m1", True, message)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    """A datagram with any byte changed is refused, or still says the same in the same name."""
    original = sealed(QUESTION, WORKER)
    datagram = bytearray(original)
    datagram[place % len(datagram)] ^= change
    try:
        assert opened(bytes(datagram)) == opened(original)
    except Refused:
        pass


@given(st.binary(max_size=2000) | st.binary(max_size=2000).map(lambda rest: b"shoal\x01" + rest))
def test_rubbish_is_refused(data: bytes) -> None:
    """Whatever comes over the network, it is refused and nothing else happens."""
    with pytest.raises(Refused):
        opened(data)
    with pytest.raises(Refused):
        read(data)


def test_another_nodes_key_cannot_sign_in_its_name() -> None:
    """A signature by another key than the certificate's is refused."""
    with pytest.raises(Refused, match="signature"):
        opened(sealed(QUESTION, KeyPair(node("m1", "manager").certificate, WORKER.key)))


@pytest.mark.parametrize("known", [CLUSTER, "c2"])
def test_another_swarms_node_is_refused(known: str) -> None:
    """Neither another root nor, under the same root, another swarm's id is accepted."""
    foreign = node("m1", "manager", root=new_root(NOW) if known == CLUSTER else ROOT, cluster=known)
    with pytest.raises(Refused, match="another"):
        opened(sealed(QUESTION, foreign))


def test_only_valid_node_certificates_count() -> None:
    """Expired certificates and those of etcd are refused."""
    with pytest.raises(Refused, match="not valid"):
        opened(sealed(QUESTION, node("m1", days=1)), NOW + timedelta(days=2))
    key, csr = new_csr()
    pem = issue_peer(ROOT, csr, node_id="m1", cluster_id=CLUSTER, now=NOW, expiry=timedelta(days=1))
    with pytest.raises(Refused, match="no node's"):
        opened(sealed(QUESTION, KeyPair(pem, key)))


@pytest.mark.parametrize("seconds", [-1, 1])
def test_an_old_question_is_not_fresh(seconds: int) -> None:
    """A question counts for as long as clocks may differ, in both directions."""
    assert is_fresh(QUESTION, NOW + seconds * SKEW)
    assert not is_fresh(QUESTION, NOW + seconds * (SKEW + timedelta(seconds=1)))


def test_answers_are_small() -> None:
    """An answer with as many managers as fit is one unfragmented datagram, and less than three times its question."""
    question = sealed(QUESTION, WORKER)
    full = Message(nonce=b"y" * 16, moment=nanoseconds(NOW), answers=b"n" * 16, addr="1.1.1.1:2377", managers=MANAGERS)
    answer = sealed(full, node("m1", "manager"))
    assert len(answer) < 1472
    assert len(answer) < 3 * len(question)
    with pytest.raises(Refused, match="too large"):
        read(b" " * (LARGEST + 1))


def test_only_addresses_that_make_sense_are_taken() -> None:
    """Addresses of a message that no manager can have are left out, and so are managers beyond the limit."""
    for good in ("10.0.0.1:2377", "[fd00::1]:2377"):
        assert is_address(good)
    for bad in ("", "host:2377", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "0.0.0.0:1", "224.0.0.1:1", "10.0.0.1:²"):
        assert not is_address(bad), bad
    strange = Message(nonce=b"", moment=0, addr="x:1", managers=[Remote(node_id="m", addr="x:1"), *MANAGERS, *MANAGERS])
    got = read(written(strange))
    assert got.addr == ""
    assert got.managers == MANAGERS[: MOST - 1]


def test_one_address_cannot_take_all_attention() -> None:
    """From one address so many messages are listened to at once, then a few per second; others are not affected."""
    limits = Limits()
    assert sum(limits.admit("10.0.0.1", 0.0) for _ in range(100)) == BURST
    assert limits.admit("10.0.0.2", 0.0)
    assert sum(limits.admit("10.0.0.1", 1.0) for _ in range(100)) == PER_SOURCE
    assert sum(limits.admit(f"10.1.{n % 256}.{n // 256}", 1.0) for n in range(10 * REMEMBERED)) < REMEMBERED


def test_a_message_is_heard_once() -> None:
    """The same nonce is not taken twice while it could be fresh, and memory is bounded."""
    nonces = Nonces()
    assert nonces.is_new(b"a", 0)
    assert not nonces.is_new(b"a", SKEW.total_seconds())
    assert nonces.is_new(b"a", 3 * SKEW.total_seconds())
    assert sum(nonces.is_new(b"%d" % number, 1000) for number in range(2 * REMEMBERED)) == REMEMBERED
