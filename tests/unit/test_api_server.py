"""The server itself, over real sockets: errors, headers, streams, raw connections, clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shoal.api.call import Call, answer
from shoal.api.client import Address, Client, ConnectionFault, Tls
from shoal.api.context import Context
from shoal.api.hijack import hijack
from shoal.api.listen import TlsOptions, listening, open_socket
from shoal.api.routing import Route
from shoal.api.server import serve
from shoal.api.stream import Progress, begin, with_progress
from shoal.kit.clock import SystemClock
from shoal.kit.ids import RandomIds
from shoal.model.errors import Conflict, InvalidArgument, NotModified
from shoal.model.swarm_spec import NodeSpec
from tests.waiting import until

Test = Callable[[], Coroutine[Any, Any, None]]


def on_both_loops(test: Test) -> None:
    """Run `test` on asyncio's own loop and on uvloop."""
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(test())


def context() -> Context:
    empty = cast(Any, SimpleNamespace())
    return Context(empty, empty, empty, SystemClock(), RandomIds(), Random(1))


@asynccontextmanager
async def served(path: Path, *routes: Route) -> AsyncIterator[str]:
    with listening([f"unix://{path}/api.sock"], tls=False) as sockets:
        async with serve(context(), [routes]) as server:
            await server.listen(sockets[0])
            yield f"{path}/api.sock"


async def ask(
    path: str, request: str, body: bytes = b"", kind: str = "application/json"
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers in lower case, body."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode())
    if body:
        writer.write(f"Content-Length: {len(body)}\r\nContent-Type: {kind}\r\n".encode())
    writer.write(b"\r\n" + body)
    raw = await reader.read()
    writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, rest


def failing(fault: Exception) -> Callable[[Call], Coroutine[Any, Any, Any]]:
    async def handler(call: Call) -> Any:
        raise fault

    return handler


async def echo_spec(call: Call) -> Any:
    return answer((await call.body(NodeSpec)).role)


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (InvalidArgument("no"), 400, "no"),
        (Conflict("taken"), 409, "taken"),
        (ExceptionGroup("several", [Conflict("inner")]), 409, "inner"),
        (RuntimeError("broken"), 500, "RuntimeError: broken"),
    ],
)
async def test_failures_become_statuses(tmp_path: Path, fault: Exception, status: int, message: str) -> None:
    """Every failure is `{"message": ...}` with the status of its class, and carries the API's headers."""
    async with served(tmp_path, Route("GET", "/x", failing(fault))) as path:
        code, headers, body = await ask(path, "GET /v1.44/x")
    assert (code, json.loads(body)) == (status, {"message": message})
    assert headers["api-version"] == "1.50"
    assert headers["ostype"] == "linux"
    assert headers["docker-experimental"] == "false"
    assert headers["content-type"] == "application/json"


async def test_not_modified_has_no_body(tmp_path: Path) -> None:
    """304 comes without a body."""
    async with served(tmp_path, Route("POST", "/x", failing(NotModified("already")))) as path:
        code, _, body = await ask(path, "POST /x")
    assert (code, body) == (304, b"")


async def test_unknown_paths_and_methods(tmp_path: Path) -> None:
    """What is not in the table is 404 `page not found`, whatever the method."""
    async with served(tmp_path, Route("GET", "/x/{id}/json", failing(Conflict("")))) as path:
        for request in ("GET /nope", "POST /x/1/json", "GET /x//json", "GET /x/1/json/more", "GET /v1.40", "GET /"):
            code, _, body = await ask(path, request)
            assert (code, json.loads(body)) == (404, {"message": "page not found"}), request


async def test_body_rules(tmp_path: Path) -> None:
    """JSON needs its content type; absent, wrong and trailing text is refused; unknown fields are not."""
    async with served(tmp_path, Route("POST", "/x", echo_spec)) as path:
        assert (await ask(path, "POST /x", b'{"role": "manager", "Other": 1}'))[2] == b'"manager"\n'
        assert (await ask(path, "POST /x", b'{"Role": "manager"} x'))[0] == 400
        assert (await ask(path, "POST /x"))[0] == 400
        code, _, body = await ask(path, "POST /x", b"{}", kind="text/plain")
        assert b"unsupported Content-Type header (text/plain): must be 'application/json'" in body
        assert code == 400, body


async def test_large_bodies_are_refused(tmp_path: Path) -> None:
    """A specification of many megabytes is not read."""
    async with served(tmp_path, Route("POST", "/x", echo_spec)) as path:
        code, _, _ = await ask(path, "POST /x", b'{"Name": "' + b"x" * (5 << 20) + b'"}')
    assert code == 413


async def test_streams_flush_their_headers_at_once(tmp_path: Path) -> None:
    """A client sees status and headers before the first byte of the body exists."""
    go_on = asyncio.Event()

    async def handler(call: Call) -> Any:
        stream = await begin(call, "application/json")
        await go_on.wait()
        await stream.json({"StatusCode": 0})
        await stream.response.write_eof()
        return stream.response

    async with served(tmp_path, Route("POST", "/wait", handler, lasting=True)) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"POST /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert b"Api-Version: 1.50" in head
        go_on.set()
        assert b"StatusCode" in await asyncio.wait_for(reader.readuntil(b"}"), 5)
        writer.close()


async def test_a_client_that_leaves_ends_what_lasts(tmp_path: Path) -> None:
    """Following ends when nobody listens any more."""
    ended = asyncio.Event()

    async def handler(call: Call) -> Any:
        stream = await begin(call, "text/plain")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return stream.response

    async with served(tmp_path, Route("GET", "/follow", handler)) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /follow HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_client_that_leaves_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is still written for it goes nowhere, and the log has nothing to say of it."""
    begun, left, tried = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(call: Call) -> Any:
        stream = await begin(call, "text/plain")
        begun.set()
        await left.wait()
        tried.set()
        for _ in range(3):
            await stream.json({})
        return stream.response

    async with served(tmp_path, Route("GET", "/x", handler, lasting=True)) as path:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(begun.wait(), 60)
        left.set()  # the server has not yet seen that the client is gone
        await asyncio.wait_for(tried.wait(), 60)
    assert not caplog.records


async def test_a_change_is_finished_though_the_client_leaves(tmp_path: Path) -> None:
    """A change that was begun is not broken off in the middle."""
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(call: Call) -> Any:
        begun.set()
        await go_on.wait()
        done.set()
        return answer({})

    async with served(tmp_path, Route("POST", "/change", handler)) as path:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"POST /change HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(begun.wait(), 5)
        writer.close()
        await writer.wait_closed()
        go_on.set()
        await asyncio.wait_for(done.wait(), 5)


async def test_progress_that_fails_early_is_an_ordinary_error(tmp_path: Path) -> None:
    """Before the first report a failure has its status; after it, it is told inside the stream."""

    async def early(call: Call) -> Any:
        async def work(progress: Progress) -> None:
            raise Conflict("early")

        return await with_progress(call, work)

    async def late(call: Call) -> Any:
        async def work(progress: Progress) -> None:
            await asyncio.to_thread(progress, {"status": "Pulling"})
            raise Conflict("late")

        return await with_progress(call, work)

    async with served(
        tmp_path, Route("POST", "/a", early, lasting=True), Route("POST", "/b", late, lasting=True)
    ) as path:
        code, _, body = await ask(path, "POST /a")
        assert (code, json.loads(body)) == (409, {"message": "early"})
        code, _, body = await ask(path, "POST /b")
        assert code == 200
        assert b'{"status":"Pulling"}\r\n' in body
        assert b'{"errorDetail":{"message":"late"},"error":"late"}\r\n' in body


async def shout(call: Call) -> Any:
    """Reads to the end of the client's input, then answers it in capitals."""
    response, connection = await hijack(call, "application/vnd.docker.raw-stream")
    heard = b""
    while data := await connection.read():
        heard += data
    for start in range(0, len(heard), 50_000):
        await connection.write(heard[start : start + 50_000].upper())
    return response


UPGRADE = b"POST /shout HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"


def test_raw_connections_survive_half_close(tmp_path: Path) -> None:
    """After 101, the end of the client's input still leaves it the whole output, on both event loops."""

    async def check() -> None:
        async with served(tmp_path, Route("POST", "/shout", shout, lasting=True)) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(UPGRADE)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n")
            writer.write(b"a" * 1_000_000)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == b"A" * 1_000_000
            writer.close()

    on_both_loops(check)


def test_raw_connections_without_upgrade(tmp_path: Path) -> None:
    """A client that does not ask to upgrade gets 200 and the same raw bytes; what it sent early is not lost."""

    async def check() -> None:
        async with served(tmp_path, Route("POST", "/shout", shout, lasting=True)) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            body = b'{"Detach": false}'
            writer.write(b"POST /shout HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200 OK")
            writer.write(b"hello")
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 5) == b"HELLO"
            writer.close()

    on_both_loops(check)


def test_a_body_before_the_raw_stream_is_no_input(tmp_path: Path) -> None:
    """The JSON body of an upgrade request (exec start has one) does not belong to the raw stream."""

    async def check() -> None:
        async with served(tmp_path, Route("POST", "/shout", shout, lasting=True)) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            body = b'{"Tty": false}'
            head = UPGRADE.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body))
            writer.write(head + body)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            writer.write(b"late")
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 5) == b"LATE"
            writer.close()

    on_both_loops(check)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 that is its own CA, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1)).add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert, pem = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, pem


def test_raw_connections_over_tls_survive_half_close(tmp_path: Path) -> None:
    """A client's close_notify ends its input only: it still reads the whole output, on both event loops."""
    cert, key = certificate(tmp_path)
    options = TlsOptions(cert, key, ca=cert, verify=True)

    def talk(port: int) -> bytes:
        settings = ssl.create_default_context(cafile=str(cert))
        settings.check_hostname = False
        settings.load_cert_chain(cert, key)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = settings.wrap_bio(incoming, outgoing)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:

            def run(action: Callable[[], Any]) -> Any:
                while True:
                    try:
                        result = action()
                    except ssl.SSLWantReadError:
                        link.sendall(outgoing.read())
                        data = link.recv(65536)
                        incoming.write(data) if data else incoming.write_eof()
                        continue
                    link.sendall(outgoing.read())
                    return result

            run(tls.do_handshake)
            run(lambda: tls.write(UPGRADE))
            head = run(lambda: tls.read(4096))
            assert head.startswith(b"HTTP/1.1 101")
            run(lambda: tls.write(b"x" * 100_000))
            with pytest.raises(ssl.SSLWantReadError):
                tls.unwrap()  # sends close_notify, as Go's CloseWrite does
            link.sendall(outgoing.read())
            heard = b""
            while True:
                data = link.recv(65536)
                if not data:
                    break
                heard += data
            # everything after close_notify is ciphertext that this library will not decrypt for us any more; its
            # amount tells that the answer came
            return heard

    async def check() -> None:
        async with serve(context(), [[Route("POST", "/shout", shout, lasting=True)]]) as server:
            listener = open_socket("tcp://127.0.0.1:0", tls=True)
            port = listener.getsockname()[1]
            await server.listen(listener, options)
            assert len(await asyncio.to_thread(talk, port)) > 100_000

    on_both_loops(check)


async def echo(call: Call) -> Any:
    """Says again what it hears, at once; after the end of the client's input it has a last word."""
    response, connection = await hijack(call, "application/vnd.docker.raw-stream")
    while data := await connection.read():
        await connection.write(data)
    await asyncio.sleep(0.01)
    await connection.write(b"the end")
    return response


def test_our_client_reads_on_after_half_close_over_tls(tmp_path: Path) -> None:
    """Output that arrives at the very moment of our client's half-close is complete, and so is what comes later."""
    cert, key = certificate(tmp_path)
    everything = Random(1).randbytes(3_000_000)

    def talk(port: int, size: int) -> bytes:
        client = Client(Address(f"tcp://127.0.0.1:{port}", Tls(str(cert), str(cert), str(key), verify=True)))
        raw = client.hijack("/echo")
        pieces: list[bytes | None] = [everything[start : start + 65536] for start in range(0, size, 65536)]
        pieces[-1] = everything[:size][(len(pieces) - 1) * 65536 :]
        pieces.append(None)
        threading.Thread(target=lambda: [raw.feed(piece) for piece in pieces], daemon=True).start()
        deadline = time.monotonic() + 30

        def idle() -> None:
            assert time.monotonic() < deadline

        try:
            return b"".join(raw.pump(idle=idle))
        finally:
            raw.close()

    async def check() -> None:
        async with serve(context(), [[Route("POST", "/echo", echo, lasting=True)]]) as server:
            listener = open_socket("tcp://127.0.0.1:0", tls=True)
            port = listener.getsockname()[1]
            await server.listen(listener, TlsOptions(cert, key, ca=cert, verify=True))
            for size in (10, 100_000, 3_000_000) * 5:
                heard = await asyncio.to_thread(talk, port, size)
                assert len(heard) == size + len(b"the end")
                assert heard == everything[:size] + b"the end"

    on_both_loops(check)


async def test_our_raw_connections_check_certificates(tmp_path: Path) -> None:
    """Attach and exec trust and distrust the same servers as every other request, and say so in the same words."""
    cert, key = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    stranger = certificate(tmp_path / "other")[0]

    def fault(action: Callable[[str], Any]) -> str:
        with pytest.raises(ConnectionFault) as caught:
            action("/x")
        return caught.value.message.replace("Post", "Get")

    async with serve(context(), [[Route("POST", "/x", failing(Conflict("reached")))]]) as server:
        listener = open_socket("tcp://127.0.0.1:0", tls=True)
        port = listener.getsockname()[1]
        await server.listen(listener, TlsOptions(cert, key, ca=cert, verify=True))
        none = str(tmp_path / "none")
        for name, ca, own, reason in (
            ("127.0.0.1", str(stranger), (str(cert), str(key)), "CERTIFICATE_VERIFY_FAILED"),
            ("localhost", str(cert), (str(cert), str(key)), "CERTIFICATE_VERIFY_FAILED"),
            ("127.0.0.1", str(cert), (none, none), ""),
        ):
            client = Client(Address(f"tcp://{name}:{port}", Tls(ca, *own, verify=True)))
            said = await asyncio.to_thread(fault, client.hijack)
            assert reason in said
            if reason:
                assert said == await asyncio.to_thread(fault, client.get)


async def test_tls_wants_a_certificate(tmp_path: Path) -> None:
    """With verification, a client without a certificate gets no answer."""
    cert, key = certificate(tmp_path)
    async with serve(context(), [[Route("GET", "/x", failing(Conflict("reached")))]]) as server:
        listener = open_socket("tcp://127.0.0.1:0", tls=True)
        port = listener.getsockname()[1]
        await server.listen(listener, TlsOptions(cert, key, ca=cert, verify=True))
        settings = ssl.create_default_context(cafile=str(cert))
        settings.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=settings)
            writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            data = await reader.read()
            raise ConnectionError if not data else AssertionError(data)


async def test_plain_http_on_the_tls_port_is_told_so(tmp_path: Path) -> None:
    """A client that forgot TLS reads why it was turned away."""
    cert, key = certificate(tmp_path)
    async with serve(context(), [[]]) as server:
        listener = open_socket("tcp://127.0.0.1:0", tls=True)
        port = listener.getsockname()[1]
        await server.listen(listener, TlsOptions(cert, key))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Client sent an HTTP request to an HTTPS server." in await asyncio.wait_for(reader.read(), 5)
        writer.close()


def test_unix_sockets_are_for_root_and_its_group(tmp_path: Path) -> None:
    """Mode 0660; a stale socket is replaced, a served one is not."""
    path = tmp_path / "a.sock"
    first = open_socket(f"unix://{path}", tls=False)
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(InvalidArgument, match="another daemon is listening"):
        open_socket(f"unix://{path}", tls=False)
    first.close()
    open_socket(f"unix://{path}", tls=False).close()


@pytest.mark.parametrize("host", ["http://x", "tcp://127.0.0.1:port", "fd://"])
def test_bad_addresses_are_refused(host: str) -> None:
    """An address that cannot be is refused with a sentence."""
    with pytest.raises(InvalidArgument):
        open_socket(host, tls=False)


async def test_nothing_stays_open_after_the_scope(tmp_path: Path) -> None:
    """Leaving the scope ends idle connections and streams."""

    async def handler(call: Call) -> Any:
        await begin(call, "text/plain")
        await asyncio.Event().wait()

    async with served(tmp_path, Route("GET", "/follow", handler)) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /follow HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 5) is not None
    writer.close()
    await until(reader.at_eof, 5)


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    """New connections see the certificate that its file has now; half of a new pair leaves the old one in force."""
    cert, key = certificate(tmp_path)
    (tmp_path / "new").mkdir()
    fresh = certificate(tmp_path / "new")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

    async with serve(context(), [[Route("GET", "/x", failing(Conflict("")))]]) as server:
        listener = open_socket("tcp://127.0.0.1:0", tls=True)
        await server.listen(listener, TlsOptions(cert, key))
        port = listener.getsockname()[1]

        async def shown() -> tuple[bytes, asyncio.StreamWriter]:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
            return writer.get_extra_info("ssl_object").getpeercert(binary_form=True), writer

        first, kept = await shown()
        fresh[0].replace(cert)
        assert (await shown())[0] == first
        fresh[1].replace(key)
        assert (await shown())[0] != first
        kept.write(b"GET /x HTTP/1.0\r\n\r\n")
        await kept.drain()
        listener.close()
