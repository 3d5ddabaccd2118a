"""Ports, mounts and the like on the command line, as the API's JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cli import grammar
from shoal.cli.container_ports import bindings, text_of
from shoal.cli.words import cut, go_time, image_name, natural, read_environment, when_query


def test_cli_service_port_forms() -> None:
    """A service's port has a short form with ranges and a long form with a mode."""
    assert grammar.ports("8080:80/udp") == [
        {"Protocol": "udp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}
    ]
    assert [port["TargetPort"] for port in grammar.ports("70-72:80-82")] == [80, 81, 82]
    assert [port["PublishedPort"] for port in grammar.ports("70-71:80")] == [70, 71]
    assert grammar.ports("80") == [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"}]
    assert grammar.ports("target=80,published=9,mode=host,protocol=UDP") == [
        {"Protocol": "udp", "TargetPort": 80, "PublishedPort": 9, "PublishMode": "host"}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("80:80-81", "invalid ranges specified for container and host Ports: 80-81 and 80"),
        ("8080:70000", "invalid containerPort: 70000"),
        ("1.2.3.4:80:80", "hostip is not supported"),
        ("80/foo", "invalid proto: foo"),
        ("published=1", "missing mandatory field 'target'"),
        ("target=1,mode=x", "invalid publish mode value (x): must be either 'ingress' or 'host'"),
        ("target=1,foo=x", "invalid field key foo"),
    ],
)
def test_cli_service_port_faults(text: str, message: str) -> None:
    """A port that makes no sense is refused in docker's words."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        grammar.ports(text)
    assert str(caught.value) == message


def test_cli_mount_forms() -> None:
    """--mount is a list of keys; options go to the part of their type."""
    assert grammar.mount("type=bind,src=/a,dst=/b,ro") == {
        "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True,
    }  # fmt: skip
    assert grammar.mount("type=volume,dst=/x,volume-opt=a=b,volume-nocopy,volume-label=k=v") == {
        "Type": "volume",
        "Target": "/x",
        "VolumeOptions": {"DriverConfig": {"Options": {"a": "b"}}, "NoCopy": True, "Labels": {"k": "v"}},
    }
    assert grammar.mount("type=tmpfs,dst=/t,tmpfs-size=10M,tmpfs-mode=1770")["TmpfsOptions"] == {
        "SizeBytes": 10485760, "Mode": 0o1770,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=volume", "target is required"),
        ("type=bind,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("type=bind,dst=/x,ro=maybe", "invalid value for ro: maybe"),
        ("type=bind,dst=/x,foo=1", "unexpected key 'foo' in 'foo=1'"),
        ("target", "invalid field 'target' must be a key=value pair"),
    ],
)
def test_cli_mount_faults(text: str, message: str) -> None:
    """A mount that makes no sense is refused in docker's words."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        grammar.mount(text)
    assert str(caught.value) == message


def test_cli_container_port_bindings() -> None:
    """`-p` of a plain container knows addresses, ranges and free choice."""
    assert bindings(["80:80", "127.0.0.1:81:82/udp", "[::1]:5:6", "1.2.3.4::7", "90-91:90-91", "8"]) == {
        "80/tcp": [{"HostIp": "", "HostPort": "80"}],
        "82/udp": [{"HostIp": "127.0.0.1", "HostPort": "81"}],
        "6/tcp": [{"HostIp": "::1", "HostPort": "5"}],
        "7/tcp": [{"HostIp": "1.2.3.4", "HostPort": ""}],
        "90/tcp": [{"HostIp": "", "HostPort": "90"}],
        "91/tcp": [{"HostIp": "", "HostPort": "91"}],
        "8/tcp": [{"HostIp": "", "HostPort": ""}],
    }


@given(st.lists(st.integers(1, 65535), unique=True, min_size=1))
def test_cli_port_text_names_every_port(numbers: list[int]) -> None:
    """However ports are grouped for a listing, each one is in one group."""
    shown = text_of([{"PrivatePort": number, "Type": "tcp"} for number in numbers])
    found: list[int] = []
    for group in shown.split(", "):
        first, _, last = group.removesuffix("/tcp").partition("-")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(numbers)


def test_cli_words() -> None:
    """Images lose docker.io, times look like Go's, long texts end in an ellipsis, numbers sort as numbers."""
    assert image_name("docker.io/library/redis:7@sha256:abc") == "redis:7"
    assert image_name("localhost:5000/x@sha256:abc") == "localhost:5000/x@sha256:abc"
    assert go_time("2026-01-02T03:04:05.123400000Z") == "2026-01-02 03:04:05.1234 +0000 UTC"
    assert cut("abcdef", 4) == "abc…"
    assert sorted(["web10", "web2", "db"], key=natural) == ["db", "web2", "web10"]
    assert when_query("1700000000") == "1700000000"
    assert when_query("2026-01-02T03:04:05Z") == "1767323045.000000000"


def test_cli_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A name without a value takes the caller's, or is left out; a file's lines come first."""
    file = tmp_path_factory.mktemp("env") / "e"
    file.write_text("# comment\nF=1\nHOME\n\nNOPE\n")
    assert read_environment(["A=x", "HOME", "NOPE"], [str(file)], {"HOME": "/h"}) == [
        "F=1", "HOME=/h", "A=x", "HOME=/h",
    ]  # fmt: skip
    file.write_text("A B=1\n")
    with pytest.raises(ValueError, match="poorly formatted environment: variable 'A B' contains whitespaces"):
        read_environment([], [str(file)], {})
