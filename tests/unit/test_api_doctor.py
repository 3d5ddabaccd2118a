"""The doctor names what is missing and what to do."""

from __future__ import annotations

from pathlib import Path

from shoal.engine.doctor import Finding, filesystem_of, quick


def test_findings_read_well() -> None:
    """A finding says what is missing, why it matters and what to do; each check has a name of its own."""
    bad = Finding(name="crun", ok=False, problem="the program crun is not installed", remedy="install the package crun")
    assert str(bad) == "missing  crun: the program crun is not installed; install the package crun"
    findings = quick()
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert finding.problem
        assert finding.remedy


def test_the_file_system_below_a_path() -> None:
    """The innermost mount counts, and of several on one point the last."""
    mounts = (
        "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /var rw shared:1 - ext4 /dev/vda rw\n"
        "3 1 0:3 / /mnt rw - xfs a rw\n4 1 0:4 / /mnt rw - tmpfs b rw\n"
    )
    assert filesystem_of(Path("/var/lib/shoal"), mounts) == "ext4"
    assert filesystem_of(Path("/variable"), mounts) == "overlay"
    assert filesystem_of(Path("/mnt"), mounts) == "tmpfs"
