"""What every handler may use: the parts of this daemon."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from shoal.kit.clock import Clock
from shoal.kit.ids import Ids

if TYPE_CHECKING:
    from shoal.engine.engine import Engine
    from shoal.manager.control import Control
    from shoal.network.networks import Networks
    from shoal.node.node import Node


@dataclass(frozen=True)
class Context:
    """The daemon's parts. `rng` picks names for what the user did not name."""

    engine: Engine
    networks: Networks
    node: Node
    clock: Clock
    ids: Ids
    rng: Random
    engine_id: str = ""
    """Of this data root: what `docker info` shows as ID."""

    @property
    def control(self) -> Control:
        """The swarm's control commands; raises Unavailable, in docker's words, on a node that is not a manager."""
        return self.node.control
