"""What a container inherits from its image. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from shoal.model.container import ContainerConfig
from shoal.model.swarm_spec import HealthConfig


def merge(asked: ContainerConfig, image: ContainerConfig) -> ContainerConfig:
    """`asked`, filled from the image's own config as docker does it."""
    entrypoint, command = words(asked.entrypoint), words(asked.cmd)
    if entrypoint == [""]:  # `--entrypoint ""` clears the image's
        entrypoint = []
    elif not entrypoint:
        command = command or words(image.cmd)
        entrypoint = words(image.entrypoint)
    return replace(
        asked,
        user=asked.user or image.user,
        exposed_ports={**image.exposed_ports, **asked.exposed_ports},
        env=merge_environment(image.env, asked.env),
        cmd=command,
        entrypoint=entrypoint or None,
        working_dir=asked.working_dir or image.working_dir,
        labels={**image.labels, **asked.labels},
        volumes={**image.volumes, **asked.volumes},
        stop_signal=asked.stop_signal or image.stop_signal,
        shell=asked.shell or image.shell,
        healthcheck=_healthcheck(asked.healthcheck, image.healthcheck),
    )


def words(value: list[str] | str | None) -> list[str]:
    """A command as a list; a plain string is one word."""
    if not value:
        return []
    return [value] if isinstance(value, str) else list(value)


def merge_environment(base: list[str], over: list[str]) -> list[str]:
    """`base` with `over` laid upon it, in the order of `base`; an entry without `=` removes the variable."""
    variables = {entry.partition("=")[0]: entry for entry in base}
    for entry in over:
        name, equals, _ = entry.partition("=")
        if equals:
            variables[name] = entry
        else:
            variables.pop(name, None)
    return list(variables.values())


def _healthcheck(asked: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    if asked is None or image is None:
        return asked or image
    return HealthConfig(
        test=asked.test or image.test,
        interval=asked.interval or image.interval,
        timeout=asked.timeout or image.timeout,
        retries=asked.retries or image.retries,
        start_period=asked.start_period or image.start_period,
        start_interval=asked.start_interval or image.start_interval,
    )
