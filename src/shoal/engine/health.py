"""Health checks: Docker Engine's rules as a plain function, and the loop that applies them to a container."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from msgspec.structs import replace

from shoal.engine.context import Context
from shoal.engine.execs import ExecConfig, Execs
from shoal.engine.records import Entry
from shoal.kit.units import format_duration
from shoal.model.container import ContainerConfig, Health, HealthResult
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.model.swarm_spec import HealthConfig

_SECOND = 10**9
_LOG_LENGTH = 5
_OUTPUT = 4096
_DEFAULT_SHELL = ["/bin/sh", "-c"]


class Settings(NamedTuple):
    """A health check with its defaults filled in; seconds."""

    command: list[str]
    interval: float
    timeout: float
    retries: int
    start_period: float
    start_interval: float


def settings(config: ContainerConfig) -> Settings | None:
    """How a container is probed; None: it is not."""
    check = config.healthcheck
    if not enabled(check):
        return None
    assert check is not None
    kind, *words = check.test
    command = [*(config.shell or _DEFAULT_SHELL), *words] if kind == "CMD-SHELL" else words
    return Settings(
        command, (check.interval or 30 * _SECOND) / _SECOND, (check.timeout or 30 * _SECOND) / _SECOND,
        check.retries or 3, check.start_period / _SECOND, (check.start_interval or 5 * _SECOND) / _SECOND,
    )  # fmt: skip


def enabled(check: HealthConfig | None) -> bool:
    """Whether there is a probe to run."""
    return check is not None and bool(check.test) and check.test[0] in ("CMD", "CMD-SHELL") and len(check.test) > 1


def initial(check: HealthConfig | None) -> Health | None:
    """The health of a container that has just started."""
    return Health(status="starting") if enabled(check) else None


def validate(check: HealthConfig | None) -> None:
    """Raise InvalidArgument, in docker's words, for a check that makes no sense."""
    if check is None:
        return
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f"Unknown healthcheck type \"{check.test[0]}\" (expected 'CMD')")
    for name, value in (("Interval", check.interval), ("Timeout", check.timeout), ("StartPeriod", check.start_period),
                        ("StartInterval", check.start_interval)):  # fmt: skip
        if value and value < 10**6:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def judge(health: Health, result: HealthResult, retries: int, in_start_period: bool) -> Health:
    """The health after one more probe. In the start period failures do not count, a success ends `starting`."""
    history = [*health.log, result][-_LOG_LENGTH:]
    if result.exit_code == 0:
        return Health(status="healthy", failing_streak=0, log=history)
    if in_start_period and health.status == "starting":
        return replace(health, log=history)
    streak = health.failing_streak + 1
    return Health(status="unhealthy" if streak >= retries else health.status, failing_streak=streak, log=history)


def next_wait(health: Health, settings: Settings, ran: float) -> float:
    """Seconds until the next probe."""
    if health.status == "starting" and ran < settings.start_period:
        return settings.start_interval
    return settings.interval


class Checks:
    """Probes the running containers that want it."""

    def __init__(self, context: Context, execs: Execs) -> None:
        self._context, self._execs = context, execs
        self._loops: dict[str, asyncio.Task[None]] = {}

    def begin(self, entry: Entry) -> None:
        """The container runs: probe it from now on."""
        wanted = settings(entry.container.config)
        if wanted and entry.id not in self._loops:
            self._loops[entry.id] = self._context.spawn(f"health of {entry.id[:12]}", self._loop, entry, wanted)

    def end(self, entry: Entry) -> None:
        """The container ended."""
        self._execs.forget(entry.id)
        if loop := self._loops.pop(entry.id, None):
            loop.cancel()

    async def _loop(self, entry: Entry, wanted: Settings) -> None:
        while self._context.running(entry):
            health = entry.state.health or Health(status="starting")
            await asyncio.sleep(next_wait(health, wanted, self._ran(entry)))
            if entry.state.paused:
                continue
            result = await self._probe(entry, wanted)
            if result is not None and self._context.running(entry):
                self._take(entry, judge(health, result, wanted.retries, self._ran(entry) < wanted.start_period))

    def _ran(self, entry: Entry) -> float:
        return (self._context.clock.now() - entry.state.started_at).total_seconds()

    def _take(self, entry: Entry, health: Health) -> None:
        before = entry.state.health
        self._context.records.update_state(entry, health=health)
        if before is None or before.status != health.status:
            self._context.tell(entry.container, f"health_status: {health.status}")

    async def _probe(self, entry: Entry, wanted: Settings) -> HealthResult | None:
        """Run the check once; None when the container is not there to be probed."""
        start = self._context.clock.now()
        try:
            id = self._execs.create(entry, ExecConfig(cmd=wanted.command, attach_stdout=True, attach_stderr=True))
        except ShoalError:
            return None
        try:
            async with asyncio.timeout(wanted.timeout):
                code, output = await self._output(id)
        except TimeoutError:
            self._execs.kill(id)
            code, output = -1, f"Health check exceeded timeout ({format_duration(round(wanted.timeout * _SECOND))})"
        except ShoalError as fault:
            code, output = -1, str(fault)
        finally:
            self._execs.discard(id)
        return HealthResult(start=start, end=self._context.clock.now(), exit_code=code, output=output)

    async def _output(self, id: str) -> tuple[int, str]:
        stream = await self._execs.start(id)
        assert stream is not None
        output = bytearray()
        try:
            async for _, data in stream:
                output += data[: _OUTPUT - len(output)]
            return await self._execs.code(id), output.decode(errors="replace")
        finally:
            stream.close()
