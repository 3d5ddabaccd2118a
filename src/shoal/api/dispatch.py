"""From a request to its handler, and from every failure to its answer: once, for all routes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

from shoal import __version__
from shoal.api import versions
from shoal.api.call import Call, failure, nothing
from shoal.api.context import Context
from shoal.api.routing import Router
from shoal.model.errors import NotModified, ShoalError

_log = logging.getLogger(__name__)

HEADERS = {
    "Api-Version": str(versions.MAXIMUM),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Shoal/{__version__} (linux)",
}
"""What every answer carries."""

_MACHINES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Failures of the machine: its user has to do something about them, and no traceback helps with that."""


class Dispatcher:
    """Answers requests from the routes' tables. `group` finishes what a client began and then left."""

    def __init__(self, router: Router, context: Context, group: asyncio.TaskGroup) -> None:
        self._router = router
        self._context = context
        self._group = group

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to `request`. Never raises for a failed request; ends with CancelledError when the client left."""
        try:
            return await self._answer(request)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            if request.transport is None or request.transport.is_closing():
                raise asyncio.CancelledError from None  # nobody is there for an answer, and it is nobody's fault
            raise
        except Exception as fault:
            response = _failed(request, fault)
            if getattr(request, "begun", False):
                raise ConnectionAbortedError("the answer broke off") from fault
            return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        version, path = versions.split(request.rel_url.raw_path)
        found = self._router.find(request.method, path)
        if found is None:
            return failure("page not found", 404)
        route, params = found
        call = Call(request, version, params, self._context)
        if route.lasting or request.method in ("GET", "HEAD"):
            return await route.handler(call)
        return await self._finish(lambda: route.handler(call))

    async def _finish(self, work: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Run `work` to its end even when the client goes away in the middle."""

        async def outcome() -> web.StreamResponse | Exception:
            try:
                return await work()
            except Exception as fault:
                return fault

        result = await asyncio.shield(self._group.create_task(outcome()))
        if isinstance(result, Exception):
            raise result
        return result


def _failed(request: web.BaseRequest, fault: Exception) -> web.StreamResponse:
    while isinstance(fault, ExceptionGroup) and len(fault.exceptions) == 1:
        fault = fault.exceptions[0]
    if isinstance(fault, NotModified):
        return nothing(304)
    if isinstance(fault, ShoalError):
        _log.debug("%s %s: %s", request.method, request.path, fault)
        return failure(fault.message, fault.status)
    if isinstance(fault, web.HTTPException):
        return failure(fault.text or fault.reason, fault.status)
    if isinstance(fault, OSError) and fault.errno in _MACHINES:
        words = f"{fault.filename}: {os.strerror(fault.errno).lower()}" if fault.filename else os.strerror(fault.errno)
        _log.error("%s %s failed: %s", request.method, request.path, words)
        return failure(words[:1].lower() + words[1:], 500)
    _log.error("%s %s failed", request.method, request.path, exc_info=fault)
    return failure(f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__, 500)
