"""The API's small grammars: versions, times, bodies, credentials, frames, states in words."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.api.auth import decode_auth, encode_auth
from shoal.api.body import decode_body
from shoal.api.frames import LogFormat
from shoal.api.human import status_text
from shoal.api.log_query import tail_of
from shoal.api.stream import frame
from shoal.api.times import log_timestamp, parse_time
from shoal.api.versions import MAXIMUM, ApiVersion, event, raw_stream_type, split
from shoal.engine.logs import LogLine
from shoal.model.container import ContainerState, CreateContainer, Health
from shoal.model.engine import AuthConfig
from shoal.model.errors import InvalidArgument
from shoal.model.swarm_spec import ServiceSpec

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_version_prefix_is_optional() -> None:
    """A path without a version means the newest; with one, that version."""
    assert split("/info") == (MAXIMUM, "/info")
    assert split("/v1.41/containers/json") == (ApiVersion(1, 41), "/containers/json")
    assert split("/v1.9x/info") == (MAXIMUM, "/v1.9x/info")


def test_versions_out_of_range_are_refused_in_dockers_words() -> None:
    """A client that is too new or too old learns the range."""
    with pytest.raises(
        InvalidArgument, match=r"client version 1\.99 is too new\. Maximum supported API version is 1\.50"
    ):
        split("/v1.99/info")
    with pytest.raises(
        InvalidArgument, match=r"client version 1\.12 is too old\. Minimum supported API version is 1\.24"
    ):
        split("/v1.12/info")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("0", None),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000.250000000", datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=UTC)),
        ("2026-01-02T03:04:05Z", NOW),
        ("2026-01-02T05:04:05+02:00", NOW),
        ("10m", NOW - timedelta(minutes=10)),
        ("1h30m", NOW - timedelta(minutes=90)),
    ],
)
def test_times_in_queries(text: str, expected: datetime | None) -> None:
    """`since` takes seconds, RFC 3339 and spans."""
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["yesterday", "2026-99-01", "99999999999999999999", "1.2.3"])
def test_bad_times_are_refused(text: str) -> None:
    """What is no time is a 400."""
    with pytest.raises(InvalidArgument):
        parse_time(text, NOW)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        parse_time(text, NOW)
    except InvalidArgument:
        pass


def test_log_timestamps_have_nine_digits() -> None:
    """Log timestamps are RFC 3339 with nanoseconds, never shortened."""
    assert log_timestamp(NOW) == "2026-01-02T03:04:05.000000000Z"


def test_field_names_match_in_any_case() -> None:
    """As in Go, `hostconfig` and `HOSTCONFIG` mean HostConfig, deep down as well; the exact spelling wins."""
    body = decode_body(
        b'{"image": "a", "HOSTCONFIG": {"networkmode": "host", "mounts": [{"TYPE": "bind", "readonly": true}]}}',
        CreateContainer,
    )
    assert body.image == "a"
    assert body.host_config.network_mode == "host"
    assert body.host_config.mounts[0].type == "bind"
    assert body.host_config.mounts[0].read_only
    assert decode_body(b'{"Name": "exact", "name": "other"}', ServiceSpec).name == "exact"


def test_keys_of_maps_keep_their_case() -> None:
    """Labels and other maps are data, not fields."""
    body = decode_body(b'{"Labels": {"Name": "x", "name": "y"}, "Unknown": [1]}', ServiceSpec)
    assert body.labels == {"Name": "x", "name": "y"}


@pytest.mark.parametrize(
    "text",
    [b"{", b"{} {}", b"[]", b'"x"', b'{"Name": 5}', b"[" * 5000, b'{"Name": "\xff"}', b'{"Unknown": ["a\\u0000"]}'],
)
def test_bodies_that_are_wrong_are_refused(text: bytes) -> None:
    """Bad JSON, trailing garbage, wrong shapes, text that is not UTF-8 and NULs are a 400."""
    with pytest.raises(InvalidArgument):
        decode_body(text, ServiceSpec)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(words, words)
def test_credentials_round_trip(username: str, password: str) -> None:
    """What is encoded is decoded again; padding may be missing."""
    auth = AuthConfig(username=username, password=password)
    header = encode_auth(auth)
    for form in (header, header.rstrip("="), header.replace("-", "+").replace("_", "/")):
        assert decode_auth(form) == (auth if auth != AuthConfig() else None)


@pytest.mark.parametrize("header", [None, "", "e30=", "e30"])
def test_no_credentials(header: str | None) -> None:
    """An absent, empty or `{}` header means anonymous."""
    assert decode_auth(header) is None


def test_bad_credentials_header_is_refused() -> None:
    """A header that is not base64 of JSON is a 400, and is not echoed."""
    with pytest.raises(InvalidArgument, match="invalid X-Registry-Auth header"):
        decode_auth("%%%")


@given(st.sampled_from([1, 2, 3]), st.binary(max_size=300))
def test_frames_carry_stream_and_length(stream: int, payload: bytes) -> None:
    """A frame is [stream, 0, 0, 0, big-endian length] and the payload."""
    data = frame(stream, payload)
    assert struct.unpack(">B3sL", data[:8]) == (stream, b"\0\0\0", len(payload))
    assert data[8:] == payload


def test_log_line_with_timestamp_and_details() -> None:
    """Timestamp, then escaped details, then the text, in one frame."""
    line = LogLine(1, NOW, b"hello\n")
    shown = LogFormat(framed=True, timestamps=True).line(line, {"b": "x y", "a": "1,2"})
    assert shown[8:] == b"2026-01-02T03:04:05.000000000Z a=1%2C2,b=x+y hello\n"
    assert LogFormat(framed=False).line(line) == b"hello\n"


@pytest.mark.parametrize(
    ("text", "expected"), [("all", None), ("", None), ("10", 10), ("0", 0), ("-1", None), ("x", None), ("9" * 30, None)]
)
def test_tail(text: str, expected: int | None) -> None:
    """`tail` is a number; anything else is everything."""
    assert tail_of(text) == expected


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ContainerState(), "Created"),
        (ContainerState(status="running", running=True, started_at=ago(minutes=2)), "Up 2 minutes"),
        (
            ContainerState(status="running", running=True, started_at=ago(hours=3), health=Health(status="healthy")),
            "Up 3 hours (healthy)",
        ),
        (
            ContainerState(status="running", running=True, started_at=ago(seconds=5), health=Health(status="starting")),
            "Up 5 seconds (health: starting)",
        ),
        (
            ContainerState(status="paused", running=True, paused=True, started_at=ago(hours=1)),
            "Up About an hour (Paused)",
        ),
        (
            ContainerState(status="restarting", running=True, restarting=True, exit_code=1, finished_at=ago(seconds=1)),
            "Restarting (1) 1 second ago",
        ),
        (ContainerState(status="exited", exit_code=137, finished_at=ago(days=20)), "Exited (137) 2 weeks ago"),
        (ContainerState(status="dead", dead=True), "Dead"),
        (ContainerState(status="removing"), "Removal In Progress"),
    ],
)
def test_states_in_words(state: ContainerState, text: str) -> None:
    """The STATUS column reads as docker's."""
    assert status_text(state, NOW) == text


def test_stream_types_by_version() -> None:
    """Multiplexed output has a content type of its own since 1.42; a terminal's is always raw."""
    assert raw_stream_type(ApiVersion(1, 41), False).endswith("raw-stream")
    assert raw_stream_type(ApiVersion(1, 42), False).endswith("multiplexed-stream")
    assert raw_stream_type(ApiVersion(1, 50), True).endswith("raw-stream")


def test_old_fields_of_events() -> None:
    """Events of containers and images keep `status`, `id` and `from` below 1.52; others never had them."""
    shown = {"Type": "container", "Action": "start", "Actor": {"ID": "c1", "Attributes": {"image": "redis"}}}
    assert event(MAXIMUM, shown) == {"status": "start", "id": "c1", "from": "redis", **shown}
    other = {"Type": "network", "Action": "create", "Actor": {"ID": "n1", "Attributes": {}}}
    assert event(MAXIMUM, other) == other
