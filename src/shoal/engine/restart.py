"""Restart policies of single containers: whether and when one that ended runs again (as Docker Engine's). Pure."""

from __future__ import annotations

from typing import NamedTuple

from shoal.model.container import ContainerRestartPolicy
from shoal.model.errors import InvalidArgument

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
GOOD_RUN = 10.0
"""Seconds of running after which the delay begins anew."""


class Decision(NamedTuple):
    """Whether to start again, after how many seconds."""

    restart: bool
    delay: float = 0.0


def check(policy: ContainerRestartPolicy, auto_remove: bool) -> None:
    """Raise InvalidArgument, in docker's words, for a policy that is none."""
    name, count = policy.name, policy.maximum_retry_count
    if name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', "
                              "'on-failure', or 'unless-stopped'")  # fmt: skip
    if name != "on-failure" and count:
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def after_exit(
    policy: ContainerRestartPolicy,
    exit_code: int,
    *,
    restarts: int,
    ran: float = 0.0,
    previous_delay: float = 0.0,
    stopped: bool = False,
) -> Decision:
    """What follows an exit. `ran` and delays in seconds, `stopped`: a user ended it."""
    if stopped:
        return Decision(False)
    wanted = policy.name in ("always", "unless-stopped")
    if policy.name == "on-failure":
        limit = policy.maximum_retry_count
        wanted = exit_code != 0 and (limit == 0 or restarts < limit)
    if not wanted:
        return Decision(False)
    if ran >= GOOD_RUN or not previous_delay:
        return Decision(True, FIRST_DELAY)
    return Decision(True, min(LONGEST_DELAY, previous_delay * 2))


def at_daemon_start(
    policy: ContainerRestartPolicy, *, ran_before: bool, exit_code: int, restarts: int, stopped: bool
) -> bool:  # fmt: skip
    """Whether a container that is not running when the daemon starts is started."""
    if not ran_before:
        return False
    if policy.name == "always":
        return True
    if policy.name == "unless-stopped":
        return not stopped
    return after_exit(policy, exit_code, restarts=restarts, stopped=stopped).restart
