"""The API client: addresses, versions, streams, hijacked connections, failures."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.api.client import (
    Address,
    AddressFault,
    Client,
    ConnectionFault,
    DaemonError,
    encode,
    filters,
    from_environment,
)
from shoal.api.client_http import ProtocolFault
from shoal.api.client_streams import frames, objects
from tests.fakedaemon import Request, fake_daemon


def client_of(url: str) -> Client:
    return Client(Address(url))


def test_cli_client_speaks_json(tmp_path: Path) -> None:
    """Bodies go out and come back as JSON, queries are encoded, false ones left out."""
    with fake_daemon(
        tmp_path / "s", {"POST /x": lambda request: {"got": request.body, "query": request.query}}
    ) as fake:
        answer = client_of(fake.url).post("/x", {"a": "b c", "on": True, "off": False, "none": None}, body={"k": ["v"]})
        assert answer == {"got": {"k": ["v"]}, "query": {"a": "b c", "on": "1"}}
        assert fake.requests[0].headers["content-type"] == "application/json"


def test_cli_client_no_ping(tmp_path: Path) -> None:
    """A plain request costs one request: nothing is spent on negotiating."""
    with fake_daemon(tmp_path / "s", {"GET /nodes": []}) as fake:
        client_of(fake.url).get("/nodes")
        assert [request.path for request in fake.requests] == ["/nodes"]


def test_cli_client_takes_the_daemons_version(tmp_path: Path) -> None:
    """A daemon that is older is asked again in its own version, and from then on at once."""
    asked: list[str] = []

    def old(request: Request) -> object:
        asked.append(request.headers["host"])
        if client.api_version != "1.41":
            text = "client version 1.50 is too new. Maximum supported API version is 1.41"
            return 400, {"message": text}
        return []

    with fake_daemon(tmp_path / "s", {"GET /nodes": old}) as fake:
        client = client_of(fake.url)
        assert client.get("/nodes") == []
        assert client.get("/nodes") == []
        assert client.api_version == "1.41"
        assert len(asked) == 3


def test_cli_client_daemon_errors(tmp_path: Path) -> None:
    """What the daemon says is raised with its status, whether it is JSON or not."""
    routes = {"GET /a": (404, {"message": "no such thing"}), "GET /b": (500, b"boom")}
    with fake_daemon(tmp_path / "s", routes) as fake:
        client = client_of(fake.url)
        for path, status, message in (("/a", 404, "no such thing"), ("/b", 500, "boom")):
            with pytest.raises(DaemonError) as caught:
                client.get(path)
            assert (caught.value.status, caught.value.message) == (status, message)


def test_cli_client_not_there(tmp_path: Path) -> None:
    """No daemon: docker's sentence, with the address as the user knows it."""
    url = f"unix://{tmp_path}/none.sock"
    with pytest.raises(ConnectionFault) as caught:
        client_of(url).get("/info")
    assert caught.value.message == f"Cannot connect to the Docker daemon at {url}. Is the docker daemon running?"


def test_cli_client_streams_a_body(tmp_path: Path) -> None:
    """A body that comes in pieces is sent in chunks, after the version has been settled."""
    with fake_daemon(tmp_path / "s", {"POST /images/load": lambda request: {"stream": str(len(request.raw))}}) as fake:
        pieces = (b"x" * 1000 for _ in range(50))
        assert list(client_of(fake.url).objects("POST", "/images/load", body=pieces)) == [{"stream": "50000"}]
        assert [request.method for request in fake.requests] == ["HEAD", "POST"]


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request's head and then does what it likes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1)
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def test_cli_client_reads_chunks() -> None:
    """Chunks, their extensions and trailers are undone; 1xx answers are skipped."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'5;x=y\r\n{"a":\r\n3\r\n 1}\r\n0\r\nTrailer: x\r\n\r\n'
        )

    with raw_server(answer) as url:
        assert client_of(url).get("/x") == {"a": 1}


def test_cli_client_cut_off() -> None:
    """A connection that ends in the middle of an answer is a failure, not an empty answer."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with raw_server(answer) as url, pytest.raises(ConnectionFault, match="unexpected EOF"):
        client_of(url).get("/x")


def test_cli_client_hijack_half_close() -> None:
    """After 101 bytes go both ways, and the end of input is passed on while output still comes."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nfirst ")
        received = b""
        while data := connection.recv(65536):
            received += data
        connection.sendall(b"got %d" % len(received))

    with raw_server(answer) as url:
        hijacked = client_of(url).hijack("/containers/x/attach")
        assert not hijacked.multiplexed
        pieces: list[bytes | None] = [b"x" * 50000] * 40 + [None]
        feeder = threading.Thread(target=lambda: [hijacked.feed(piece) for piece in pieces], daemon=True)
        feeder.start()
        assert b"".join(hijacked.pump()) == b"first got 2000000"
        feeder.join(10)
        hijacked.close()


def test_cli_client_hijack_refused() -> None:
    """A daemon that does not upgrade is a failure."""
    with (
        raw_server(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as url,
        pytest.raises(ConnectionFault, match="unable to upgrade to tcp, received 200"),
    ):
        client_of(url).hijack("/containers/x/attach")


def test_cli_client_addresses() -> None:
    """Addresses come from -H, else DOCKER_HOST, else the usual socket; TLS from its variables."""
    assert from_environment({}).url == "unix:///var/run/docker.sock"
    assert from_environment({"DOCKER_HOST": "tcp://h:1"}, "unix:///x").path == "/x"
    secured = from_environment({"DOCKER_HOST": "tcp://h", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"})
    assert secured.tls is not None
    assert (secured.port, secured.tls.ca, secured.tls.verify) == (2376, "/certs/ca.pem", True)
    assert Address("tcp://[::1]:2375").host == "::1"
    for wrong in ("ssh://x", "tcp://h:x", "unix://"):
        with pytest.raises(AddressFault):
            Address(wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4), st.integers(1, 9))
def test_cli_client_objects_in_any_pieces(values: list[object], size: int) -> None:
    """JSON objects one after the other are found, wherever the pieces are cut, also inside a character."""
    data = "\r\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode("utf-8", "surrogatepass")
    assert list(objects(data[i : i + size] for i in range(0, len(data), size))) == values


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))), st.integers(1, 20))
def test_cli_client_frames_in_any_pieces(values: list[tuple[int, bytes]], size: int) -> None:
    """Frames are found, wherever the pieces are cut."""
    data = b"".join(bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload for stream, payload in values)
    assert list(frames(data[i : i + size] for i in range(0, len(data), size))) == values


def test_cli_client_frames_cut_off() -> None:
    """Half a frame at the end is a failure."""
    with pytest.raises(ProtocolFault):
        list(frames([b"\1\0\0\0\0\0\0\5ab"]))


def test_cli_client_query_encoding() -> None:
    """Queries carry anything; filters are docker's nested form."""
    assert encode({"a": "x y&z", "l": ["1", "2"]}) == "?a=x%20y%26z&l=1&l=2"
    assert filters({"label": ["a=b"]}) == '{"label":{"a=b":true}}'
    assert filters({}) is None
