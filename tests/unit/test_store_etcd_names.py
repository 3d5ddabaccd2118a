"""The names that etcd dials."""

from __future__ import annotations

from pathlib import Path

from shoal.ca.issue import peer_name
from shoal.store.etcd_names import with_names, write_names


def test_the_names_file(tmp_path: Path) -> None:
    """One line for each name, only addresses get in, each time the whole file; nothing but the file is asked."""
    odd = {"etcd-b": "somewhere", "etcd-c": "10.0.0.3 etcd-a", "etcd-d": "", "etcd-e": "0.0.0.0"}
    write_names(tmp_path, {"etcd-a": "10.0.0.1", "etcd-v6": "fd00::1", **odd})
    assert (tmp_path / "etc/hosts").read_text() == "10.0.0.1 etcd-a\nfd00::1 etcd-v6\n"
    assert (tmp_path / "etc/nsswitch.conf").read_text() == "hosts: files\n"
    assert (tmp_path / "etc").stat().st_mode & 0o777 == 0o700
    write_names(tmp_path, {"etcd-a": "10.0.0.2"})
    assert (tmp_path / "etc/hosts").read_text() == "10.0.0.2 etcd-a\n"


def test_the_command_is_kept_word_for_word(tmp_path: Path) -> None:
    """Nothing of etcd's command line is read by a shell."""
    command = ["etcd", "--name=$(id)", "a b", ""]
    assert with_names(tmp_path, command)[-4:] == command


def test_a_nodes_name() -> None:
    """It is a host name of one label for every node id."""
    assert peer_name("7dqlvmbmjwfh1h7nhuicrgx8n") == "etcd-7dqlvmbmjwfh1h7nhuicrgx8n"
