"""The doctor names what is missing and what to do."""

from __future__ import annotations

from pathlib import Path

from shoal.engine.doctor import filesystem_of, quick


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
