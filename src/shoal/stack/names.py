"""What belongs to a stack: labels and names."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.model.errors import InvalidArgument

LABEL_NAMESPACE = "com.docker.stack.namespace"
"""On everything that a stack made: the stack's name."""

LABEL_IMAGE = "com.docker.stack.image"
"""On its services: the image as the file has it, before a digest was pinned."""


class StackFault(InvalidArgument):
    """The stack, or its file, is wrong; the message says what, and where."""


def check_stack_name(name: str) -> str:
    """The name. Raises StackFault for one of blanks and quotes only."""
    if not name.strip(" \t\"'"):
        raise StackFault(f'invalid stack name: "{name}"')
    return name


def scoped(stack: str, name: str) -> str:
    """`web` of the stack `shop` is `shop_web`."""
    return f"{stack}_{name}"


def namespace_filter(stack: str, others: Mapping[str, list[str]] | None = None) -> dict[str, list[str]]:
    """The API's filters for what belongs to `stack`."""
    wanted = dict(others or {})
    wanted["label"] = [*wanted.get("label", []), f"{LABEL_NAMESPACE}={stack}"]
    return wanted
