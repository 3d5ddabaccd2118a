"""Which handler answers which method and path. Route tables are plain lists, one per noun."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from shoal.api.call import Call

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """One entry of the table. `{name}` in `pattern` is one path segment, `{name*}` may hold slashes.

    What a `lasting` route does ends when its client goes away (logs, pulls, events); any other change that was begun
    is finished, whatever becomes of the client.
    """

    method: str
    pattern: str
    handler: Handler
    lasting: bool = False


class Router:
    """A compiled set of route tables."""

    def __init__(self, tables: Iterable[Iterable[Route]]) -> None:
        self._routes: defaultdict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = defaultdict(list)
        for table in tables:
            for route in table:
                self._routes[route.method, _head(route.pattern)].append((_compile(route.pattern), route))

    def find(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a request and its path parameters (decoded); None when there is none."""
        for pattern, route in self._routes.get((method, _head(raw_path)), ()):
            match = pattern.fullmatch(raw_path)
            if match:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


def _head(path: str) -> str:
    return path[1:].partition("/")[0]


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\*?\})", pattern)
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name = part[1:-1]
    return rf"(?P<{name[:-1]}>.+)" if name.endswith("*") else rf"(?P<{name}>[^/]+)"
