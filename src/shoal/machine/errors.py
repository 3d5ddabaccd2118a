"""What goes wrong with machines, in docker-machine's words."""

from __future__ import annotations

from shoal.model.errors import ShoalError


class MachineError(ShoalError):
    """A failure with a message for the user. `exit_status` is what the command exits with."""

    exit_status = 1


class PreCreateError(MachineError):
    """The driver cannot make a machine here; nothing has been made yet. Scripts test for exit status 3."""

    exit_status = 3

    def __init__(self, reason: str) -> None:
        super().__init__(f'Error with pre-create check: "{reason}"')


class NoSuchMachine(MachineError):
    """There is no machine of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'Docker machine "{name}" does not exist. Use "docker-machine ls" to list machines. '
            'Use "docker-machine create" to add a new one.'
        )


class NotRunning(MachineError):
    """The machine has no address to offer because it does not run."""

    def __init__(self) -> None:
        super().__init__("Host is not running")


def text_of(fault: BaseException) -> str:
    """The failure in a sentence. One that nobody foresaw is named by its kind, and says how to see more."""
    if isinstance(fault, OSError):
        where = f"{fault.filename}: " if fault.filename else ""
        return f"{where}{fault.strerror or str(fault) or type(fault).__name__}"
    if isinstance(fault, ShoalError):
        return str(fault)
    return f"unexpected {type(fault).__name__}: {fault} (--debug shows where it happened)"
