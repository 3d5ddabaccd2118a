"""The doctor names what is missing and what to do."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shoal.engine import doctor
from shoal.engine.doctor import filesystem_of, quick
from shoal.model.errors import ShoalError
from shoal.network.kernel import nft
from shoal.network.ruleset import create
from shoal.network.tables import (
    BridgeRules,
    Gate,
    IngressEnd,
    MeshPort,
    MeshRules,
    VirtualAddress,
    node_table,
    sandbox_table,
)


def test_findings_say_what_to_do() -> None:
    """Each check has a name of its own, and words for what is missing, why it matters and what to do."""
    findings = quick()
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert finding.problem
        assert finding.remedy
        assert str(finding).startswith("ok" if finding.ok else "missing")


def test_the_file_system_below_a_path() -> None:
    """The innermost mount counts, and of several on one point the last."""
    mounts = (
        "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /var rw shared:1 - ext4 /dev/vda rw\n"
        "3 1 0:3 / /mnt rw - xfs a rw\n4 1 0:4 / /mnt rw - tmpfs b rw\n"
    )
    assert filesystem_of(Path("/var/lib/shoal"), mounts) == "ext4"
    assert filesystem_of(Path("/variable"), mounts) == "overlay"
    assert filesystem_of(Path("/mnt"), mounts) == "tmpfs"


LACKS = {
    "numgen": "numgen inc",
    "fib": "fib daddr",
    "redirect": "redirect to",
    "masquerade": "masquerade",
    "dnat": "dnat to",
    "ct mark": "ct mark",
    "reject": "reject",
    "maxseg": "maxseg",
}


@pytest.mark.parametrize(("feature", "words"), LACKS.items())
def test_each_kind_of_rule_that_the_kernel_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, feature: str, words: str
) -> None:
    """A kernel without it fails one check, and that one says what to load. The network's rules really use it."""
    mesh = MeshRules("b", "10.0.0.0/24", 1450, (MeshPort("tcp", 80, ("10.0.0.2", "10.0.0.3"), 80),))
    node = node_table("shoal", [BridgeRules("b", ("10.0.0.0/24",))], [], mesh)
    end = IngressEnd("eth0", "10.0.0.0/24", "10.0.0.9")
    inside = sandbox_table((1, 2), [VirtualAddress("10.0.0.4", ("10.0.0.2",))], end, [Gate("aa:bb:cc:dd:ee:ff", 1, ())])
    assert words in create(node) + create(inside)
    monkeypatch.setattr(doctor, "_succeeds", lambda command: words not in command[-1])
    missing = [finding for finding in doctor.full() if finding.name.startswith(("nf", "bridge")) and not finding.ok]
    assert [finding.name for finding in missing] == [f"nftables {feature}"]
    assert "modprobe nft_" in missing[0].remedy


@pytest.mark.parametrize(("words", "name"), [("nft", "nf_tables"), ("type nat", "nftables nat")])
def test_what_needs_a_missing_feature_is_not_blamed(monkeypatch: pytest.MonkeyPatch, words: str, name: str) -> None:
    """Without nf_tables, or its NAT, that is what is missing, and not each rule that would build upon it."""
    monkeypatch.setattr(doctor, "_succeeds", lambda command: words not in command[-1])
    assert [finding.name for finding in doctor.full() if finding.name.startswith("nf") and not finding.ok] == [name]


class Library:
    """libnftables on a kernel that refuses everything."""

    def nft_ctx_new(self, flags: int) -> int:
        return 1

    def nft_run_cmd_from_buffer(self, context: int, commands: bytes) -> int:
        return -1

    def nft_ctx_get_error_buffer(self, context: int) -> bytes:
        return b"Error: Could not process rule: No such file or directory\n"

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


def test_a_refused_rule_leads_to_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads nft's words learns where to ask for the cause."""
    monkeypatch.setattr(nft, "_library", Library)
    namespace = SimpleNamespace(entered=nullcontext)
    with pytest.raises(ShoalError, match=r"^nftables: Error: .*No such file or directory \(`shoal doctor` tells"):
        nft.Nft(cast("Any", namespace)).run("add rule ip t c numgen inc mod 2")
