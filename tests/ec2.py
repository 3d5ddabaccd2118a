"""moto's EC2 for tests: a server on loopback, and a client of it that finds it empty."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


@contextmanager
def ec2_server() -> Iterator[str]:
    """Its endpoint. It answers one request at a time: moto's memory is not made for several threads."""
    made = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    made.start()
    host, port = made.get_host_and_port()
    app, one_at_a_time = made._server.app, threading.Lock()

    def answer(*request: Any) -> list[bytes]:
        with one_at_a_time:
            return list(app(*request))

    made._server.app = answer
    yield f"http://{host}:{port}"
    made.stop()


def emptied(server: str) -> Any:
    """EC2 as others see it, without what tests before have left: moto's memory is the whole process's."""
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    return boto3.client(
        "ec2", endpoint_url=server, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
