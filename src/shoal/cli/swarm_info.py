"""What several commands ask of a swarm: names of nodes and services by id, `self`."""

from __future__ import annotations

from shoal.api.client import Client, DaemonError, quote
from shoal.cli.command import fail


def node_reference(client: Client, name: str) -> str:
    """`self` as this node's id; anything else as it is. Raises CommandFault when there is no self."""
    if name != "self":
        return name
    swarm = client.get("/info")["Swarm"]
    if not swarm.get("NodeID"):
        # the daemon says best why it knows no nodes
        client.get("/nodes")
        fail("node ID not found in /info")
    return str(swarm["NodeID"])


class Names:
    """Hostnames of nodes and names of services, asked for once each."""

    def __init__(self, client: Client, *, resolve: bool = True) -> None:
        self._client = client
        self._resolve = resolve
        self._known: dict[str, str] = {}

    def node(self, identifier: str) -> str:
        """The node's name or hostname; its id where it is gone."""
        return self._find("nodes", identifier)

    def service(self, identifier: str) -> str:
        """The service's name; its id where it is gone."""
        return self._find("services", identifier)

    def _find(self, kind: str, identifier: str) -> str:
        if not self._resolve or not identifier:
            return identifier
        if identifier not in self._known:
            try:
                found = self._client.get(f"/{kind}/{quote(identifier)}")
            except DaemonError:
                name = identifier
            else:
                spec_name = found.get("Spec", {}).get("Name", "")
                name = spec_name or found.get("Description", {}).get("Hostname", "") or identifier
            self._known[identifier] = name
        return self._known[identifier]
