"""Getting certificates from a swarm's managers: the first one with a join token, and later ones."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from grpclib.client import Channel

from shoal.ca.files import CertificateFiles, KeyPair
from shoal.ca.issue import new_csr
from shoal.ca.root import check_digest
from shoal.ca.tls import ISSUER_NAME, MANAGER_NAME, client_context, joining_context, unverified_context
from shoal.ca.tokens import parse_token
from shoal.model.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ShoalError,
    Unauthenticated,
    Unavailable,
    rpc,
)
from shoal.wire.basics import to_enum
from shoal.wire.grpc import TRANSPORT_ERRORS, channel, from_grpc, isolated
from shoal.wire.pb import swarmkit_pb2 as pb
from shoal.wire.pb.swarmkit_grpc import CAStub, NodeCAStub

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 5
BETWEEN_TRIES = 2.0
TIMEOUT = 5.0
"""Seconds for one call."""


class AnotherSwarm(ShoalError):
    """The manager that was asked is of another swarm than the token."""


REFUSALS = (AnotherSwarm, FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated)
"""What a manager answers to a token that will never do; anything else may pass."""


async def fetch_root(addrs: Sequence[str], token: str) -> bytes:
    """The swarm's root (PEM), from any of the managers at `addrs`, proven by the token's digest.

    Raises ShoalError in docker's words: a malformed token, another swarm's root, no manager there.
    """
    digest = parse_token(token).digest

    async def fetch(connection: Channel) -> bytes:
        answer = await CAStub(connection).GetRootCACertificate(pb.GetRootCACertificateRequest(), timeout=TIMEOUT)
        return bytes(answer.certificate)

    for attempt in range(TRIES):
        try:
            bundle = await _first(addrs, unverified_context(), ISSUER_NAME, fetch)
            break
        except Unavailable as fault:
            logger.info("no manager answers yet: %s", fault)
            if attempt == TRIES - 1:
                raise
            await asyncio.sleep(BETWEEN_TRIES)
    try:
        check_digest(bundle, digest)
    except ShoalError as fault:
        raise AnotherSwarm(fault.message) from None
    return bundle


async def request_certificate(
    addrs: Sequence[str], bundle: bytes, token: str, availability: str
) -> tuple[str, KeyPair]:
    """Become a node: returns its id and the certificate of the role that `token` grants."""
    key, csr = await asyncio.to_thread(new_csr)
    request = pb.IssueNodeCertificateRequest(csr=csr, token=token, availability=to_enum(availability, "active"))
    return await _first(addrs, joining_context(bundle), ISSUER_NAME, lambda link: _issued(link, request, key))


async def renew_certificate(addrs: Sequence[str], files: CertificateFiles) -> KeyPair:
    """A new key and a new certificate, of the role that this node has now."""
    key, csr = await asyncio.to_thread(new_csr)
    request = pb.IssueNodeCertificateRequest(csr=csr)
    _, pair = await _first(addrs, client_context(files), MANAGER_NAME, lambda link: _issued(link, request, key))
    return pair


async def _issued(link: Channel, request: pb.IssueNodeCertificateRequest, key: bytes) -> tuple[str, KeyPair]:
    stub = NodeCAStub(link)
    answer = await stub.IssueNodeCertificate(request, timeout=TIMEOUT)
    status = await stub.NodeCertificateStatus(
        pb.NodeCertificateStatusRequest(node_id=answer.node_id), timeout=4 * TIMEOUT
    )
    if status.status.state != pb.IssuanceStatus.ISSUED:
        raise ShoalError(f"the certificate was not issued: {status.status.err}")
    pair = KeyPair(status.certificate.certificate, key)
    if status.certificate.csr != request.csr or not pair.matches():
        raise Unavailable("the manager answered with a certificate for another request")
    return answer.node_id, pair


async def _first(
    addrs: Sequence[str], context: ssl.SSLContext, server_name: str, call: Callable[[Channel], Coroutine[Any, Any, T]]
) -> T:
    """What the first manager that can be reached answers; errors with docker's `rpc error:` prefix."""
    failure: ShoalError = Unavailable("no manager is known")
    for addr in addrs:
        async with connected(addr, context, server_name) as connection:
            try:
                return await isolated(call(connection))
            except TRANSPORT_ERRORS as fault:
                failure = rpc(from_grpc(fault))
                if not isinstance(failure, Unavailable):
                    raise failure from fault
    raise failure


@asynccontextmanager
async def connected(addr: str, context: ssl.SSLContext, server_name: str = MANAGER_NAME) -> AsyncIterator[Channel]:
    """A channel to `host:port` for the length of the scope."""
    connection = channel(addr, context, server_name)
    try:
        yield connection
    finally:
        connection.close()
