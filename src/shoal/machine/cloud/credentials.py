"""A machine's credentials: taken from the flags, kept where they are safe, found again, and replaced when rotated."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from shoal.machine.cloud import api, secrets
from shoal.machine.cloud.provider import Option, Provider
from shoal.machine.driver import Context
from shoal.machine.errors import MachineError

T = TypeVar("T")


class Credentials:
    """The secrets of one machine. `data["Secrets"]` says of each where it is: a reference, never the secret."""

    def __init__(self, provider: Provider, context: Context, data: dict[str, Any]) -> None:
        self._provider, self._context, self._data = provider, context, data
        self._options = [option for option in provider.options if option.secret]
        self._given: dict[str, str] = {}
        self._warned = False
        self._cloud: tuple[Mapping[str, str], Any] | None = None

    def take(self, values: Mapping[str, Any]) -> None:
        """Take the flags' secrets. Raises MachineError when one is missing that is needed."""
        for option in self._options:
            secret = str(values.get(option.name) or "")
            if secret:
                self._given[option.name] = secret
            elif not option.optional:
                raise MachineError(f"{self._provider.name} driver requires the --{option.name} option")

    def keep(self) -> None:
        """Put what was taken into the keyring; where none works, say which variables will be needed."""
        references: dict[str, str] = {}
        wanted: list[str] = []
        for option in self._options:
            if option.name not in self._given:
                continue
            entry = secrets.entry_name(option.name, self._context.directory)
            if secrets.keep(entry, self._given[option.name]):
                references[option.name] = f"keyring:{entry}"
            else:
                references[option.name] = f"environment:{option.environment}"
                wanted.append(option.environment)
        self._data["Secrets"] = references
        if wanted:
            self._context.say(
                f"No keyring works here: keep {', '.join(wanted)} in the environment. ls, start, stop and rm need "
                f"{'it' if len(wanted) == 1 else 'them'} to ask {self._provider.title}; ssh and env do not."
            )

    def forget(self) -> None:
        """Take them out of the keyring."""
        for reference in dict(self._data.get("Secrets") or {}).values():
            if reference.startswith("keyring:"):
                secrets.forget(reference.removeprefix("keyring:"))

    def note_account(self) -> None:
        """Note of which account they are, so that a machine is not taken for gone when another one is asked."""
        if secret := self._given.get(self._provider.account):
            self._data["Account"] = secrets.fingerprint(secret, self._data["Token"])

    def check_account(self) -> None:
        """Whether a machine that is not found was looked for in the account it was made in. Raises MachineError."""
        flag, noted = self._provider.account, self._data.get("Account")
        option = next((option for option in self._options if option.name == flag), None)
        if option is None or self._data.get(option.old_key) or ("Token" in self._data and not noted):
            # Told apart by something else; its own token, from docker-machine's record; or a provider's own file.
            return
        secret = self.found().get(flag, "")
        if noted and secrets.fingerprint(secret, self._data["Token"]) == noted:
            return
        told = "was made with another" if noted else "may have been made with another"
        raise MachineError(
            f"there is no machine {self._data[self._provider.id_key]} in this account, but the machine {told} --{flag} "
            "than the one at hand: use that one, or --force if the machine is gone"
        )

    def account(self) -> str:
        """What all machines of this account have in common, and no others."""
        connection = self._provider.connection(self._data, self.found())
        return hashlib.sha256(repr((self._provider.name, sorted(connection.items()))).encode()).hexdigest()

    def ask(self, question: Callable[[Any], T]) -> T:
        """What Libcloud's driver answers. A token that is refused is replaced by the environment's, if that is another.

        Raises MachineError: no Libcloud, no token, a token refused, or what the provider says.
        """
        api.require()
        found = self.found()
        try:
            return self._asked(question, found)
        except api.Rejected:
            rotated = {o.name: value for o in self._options if (value := os.environ.get(o.environment or "=", ""))}
            if all(found.get(name) == value for name, value in rotated.items()):
                raise
        answer = self._asked(question, {**found, **rotated})
        self._given.update(rotated)
        if self._data.get("Secrets"):
            self.keep()
        return answer

    def _asked(self, question: Callable[[Any], T], found: Mapping[str, str]) -> T:
        with api.explained(self._provider.title, found):
            if self._cloud is None or self._cloud[0] != found:
                self._cloud = (found, self._provider.connect(self._data, found))
            return question(self._cloud[1])

    def found(self) -> dict[str, str]:
        """All secrets, by flag. Raises MachineError that names the variable of one that is missing."""
        references = dict(self._data.get("Secrets") or {})
        found = {}
        for option in self._options:
            secret = self._given.get(option.name) or self._recall(option, references.get(option.name, ""))
            if secret:
                found[option.name] = secret
            elif not option.optional or option.name in references:
                raise secrets.missing(self._provider.title, option.environment, option.name)
        return found

    def _recall(self, option: Option, reference: str) -> str:
        # What the machine was made with comes first: the environment's may be of another account.
        old = str(self._data.get(option.old_key) or "") if option.old_key else ""
        if not old:
            return secrets.resolve(reference, option.environment, os.environ)
        if not self._warned:
            self._warned = True
            self._context.say(
                f"Warning: config.json of this machine holds {option.old_key} in clear, as docker-machine wrote it. "
                f"Put it into {option.environment} and delete it from the file."
            )
        return old
