"""`docker import --change`: instructions of a Dockerfile on an image's config."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.engine.image_changes import apply_changes
from shoal.model.container import ContainerConfig
from shoal.model.errors import InvalidArgument
from shoal.model.swarm_spec import HealthConfig

S = 10**9


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('CMD ["a", "b c"]', "cmd", ["a", "b c"]),
        ("CMD a b", "cmd", ["/bin/sh", "-c", "a b"]),
        ("CMD [a, b]", "cmd", ["/bin/sh", "-c", "[a, b]"]),
        ("ENTRYPOINT [1]", "entrypoint", ["/bin/sh", "-c", "[1]"]),
        ("CMD []", "cmd", []),
        ('ENV A=1 B="two words"', "env", ["A=1", "B=two words"]),
        ("ENV A rest of it", "env", ["A=rest of it"]),
        ('VOLUME ["/a b"]', "volumes", {"/a b": {}}),
        ("VOLUME /a /b", "volumes", {"/a": {}, "/b": {}}),
        ("VOLUME [/a", "volumes", {"[/a": {}}),
        ("EXPOSE 80 53/udp", "exposed_ports", {"80/tcp": {}, "53/udp": {}}),
        ("healthcheck none", "healthcheck", HealthConfig(test=["NONE"])),
        (
            "HEALTHCHECK --interval=2s --retries=4 CMD curl x",
            "healthcheck",
            HealthConfig(test=["CMD-SHELL", "curl x"], interval=2 * S, retries=4),
        ),
        ('HEALTHCHECK CMD ["curl"]', "healthcheck", HealthConfig(test=["CMD", "curl"])),
    ],
)
def test_an_instruction_changes_its_field(line: str, field: str, value: Any) -> None:
    """As in a Dockerfile; what is no list of strings is for the shell."""
    assert getattr(apply_changes(ContainerConfig(), [line]), field) == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ('ENV A="x', "ENV: No closing quotation"),
        ("EXPOSE x", "EXPOSE: "),
        ("EXPOSE 70000", "EXPOSE: invalid containerPort: 70000"),
        ("HEALTHCHECK --test=1s CMD x", "HEALTHCHECK: unknown flag: test"),
        ("HEALTHCHECK --retries=x CMD y", "HEALTHCHECK: "),
        ("HEALTHCHECK CURL x", "HEALTHCHECK: Unknown type 'CURL'"),
    ],
)
def test_a_wrong_instruction_is_refused(line: str, message: str) -> None:
    """By its name."""
    with pytest.raises(InvalidArgument, match=message):
        apply_changes(ContainerConfig(), [line])
