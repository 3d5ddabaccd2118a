"""The machine as its provider knows it: found, waited for, and where it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from shoal.machine.cloud import api
from shoal.machine.cloud.credentials import Credentials
from shoal.machine.cloud.provider import Provider
from shoal.machine.driver import Context, State
from shoal.machine.errors import MachineError

T = TypeVar("T")

LIMIT = 600.0
"""Seconds until a machine must run, or be stopped, or be gone, unless a flag says another limit."""

STATES = {
    "running": State.RUNNING, "normal": State.RUNNING, "updating": State.RUNNING, "migrating": State.RUNNING,
    "reconfiguring": State.RUNNING, "starting": State.STARTING, "pending": State.STARTING,
    "rebooting": State.STARTING, "stopping": State.STOPPING, "stopped": State.STOPPED, "paused": State.PAUSED,
    "suspended": State.SAVED, "terminated": State.NONE, "error": State.ERROR, "unknown": State.ERROR,
}  # fmt: skip
"""Libcloud's states in docker-machine's words."""


def state_of(node: Any | None) -> State:
    """What a node is doing; NONE for none."""
    return State.NONE if node is None else STATES.get(_word(node), State.ERROR)


def _word(node: Any) -> str:
    return str(getattr(node.state, "value", node.state)).lower()


class Remote:
    """One machine. `data` is its driver's; addresses are noted in it."""

    def __init__(self, provider: Provider, context: Context, data: dict[str, Any]) -> None:
        self.provider, self._context, self._data = provider, context, data
        self.credentials = Credentials(provider, context, data)

    def ask(self, question: Callable[[Any], T]) -> T:
        """What Libcloud's driver answers to `question`. Raises MachineError."""
        return self.credentials.ask(question)

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold what its machine shares with others at the provider."""
        return api.exclusive(self._context.store, self.provider.name)

    def on_node(self, act: Callable[[Any, Any], T]) -> T:
        """Do something to the machine. Raises MachineError when it is gone."""
        return self.ask(lambda cloud: act(cloud, self.existing(cloud)))

    def fresh(self, cloud: Any) -> Any | None:
        """Its node, asked for now."""
        return self.provider.find(cloud, self._data) if self._data.get(self.provider.id_key) else None

    def existing(self, cloud: Any) -> Any:
        """Its node. Raises MachineError when there is none any more."""
        node = self.fresh(cloud)
        if node is None:
            raise self.gone()
        return node

    def glance(self, cloud: Any) -> Any | None:
        """Its node, from the answer that all machines of its account share."""
        nodes = api.account_nodes(self.credentials.account(), lambda: self.provider.nodes(cloud, self._data))
        return self.provider.among(nodes, self._data)

    def gone(self) -> MachineError:
        """What is said of a machine that somebody removed at the provider."""
        return MachineError(f"{self.provider.title} has no machine {self._data.get(self.provider.id_key)} any more")

    def wait_for_address(self) -> None:
        """Wait until it runs and has an address; save the address, and tell when it is another than before."""
        self._context.say("Waiting for an IP...")

        def ready(node: Any | None) -> bool:
            if node is not None and _word(node) in ("error", "terminated"):
                raise MachineError(f"{self.provider.title} could not make the machine: its state is {_word(node)}")
            return state_of(node) is State.RUNNING and bool(self._address_of(node))

        before = self._data.get("LastIPAddress") or ""
        self.take_address(self.wait(ready, "run"))
        now = self._data["IPAddress"]
        if before and before != now:
            self._context.say(f"The machine has another address than before: {now} (was {before})")
        self._data["LastIPAddress"] = now
        self._context.save(self._data)

    def wait(self, done: Callable[[Any | None], bool], what: str) -> Any:
        """Ask until `done` is content with the node, also past failures that pass; the node. Raises MachineError."""
        deadline = time.monotonic() + self.limit()
        api.forget_answers()
        while True:
            with suppress(api.Unreachable):
                if done(node := self.ask(self.fresh)):
                    api.forget_answers()
                    return node
            if time.monotonic() > deadline:
                raise MachineError(f"the machine did not {what} within {self.limit():g} seconds")
            time.sleep(self.provider.interval)

    def limit(self) -> float:
        """Seconds for one change of state."""
        return float(self._data.get("ActiveTimeout") or LIMIT)

    def take_address(self, node: Any) -> None:
        """Note where it is."""
        self._data["IPAddress"] = self._address_of(node) or self._data.get("IPAddress", "")
        self._data["PrivateIPAddress"] = self.provider.addresses(node, self._data)[1]

    def remove(self, cloud: Any) -> None:
        """Take the machine away and all that was made with it; what is gone already is fine."""
        provider, data = self.provider, self._data
        node = self.fresh(cloud)
        if node is None and data.get("Creating"):
            node = provider.lost(cloud, data)
            if node is not None:
                data[provider.id_key] = provider.identify(node)
        elif node is None and data.get(provider.id_key):
            self.credentials.check_account()
        if state_of(node) is not State.NONE:
            provider.destroy(cloud, node)
            api.forget_answers()
        if node is not None and data.get("Lingers"):
            self.wait(lambda now: state_of(now) is State.NONE, "go")
        provider.released(cloud, data)
        if not data.get("ExistingKey"):
            provider.delete_key(cloud, data)
        with self.exclusive():
            provider.close_ports(cloud, data)

    def _address_of(self, node: Any) -> str:
        public, private = self.provider.addresses(node, self._data)
        return private if self.provider.is_private(self._data) else public
