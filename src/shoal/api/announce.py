"""Events about images, volumes and networks: told when a request has done its work. (Containers' are the engine's.)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shoal.api.call import Call
from shoal.model import reference
from shoal.model.engine import Image, LocalNetwork, Volume


def image(call: Call, action: str, name: str, known: Image | None = None) -> None:
    """`pull`, `push`, `tag`, `load`, ...: about `name`, or about the image `known` under that name."""
    attributes = {"name": name}
    if known is not None:
        attributes = {**known.config.labels, **attributes}
    call.context.engine.events.tell("image", action, known.id if known else name, attributes)


def transferred(call: Call, action: str, name: str) -> None:
    """A pull or push: the actor is the name with its tag, `name` the one without."""
    parsed = reference.parse(name, default_tag=True)
    attributes = {"name": reference.familiar(reference.Reference(domain=parsed.domain, path=parsed.path))}
    call.context.engine.events.tell("image", action, reference.familiar(parsed), attributes)


def removed(call: Call, report: Iterable[Mapping[str, str]], id: str = "") -> None:
    """What a removal reports: names that are gone (`untag`) and images that are gone (`delete`)."""
    for entry in report:
        if "Untagged" in entry and "@" not in entry["Untagged"]:
            call.context.engine.events.tell("image", "untag", id or entry["Untagged"], {"name": entry["Untagged"]})
        elif entry.get("Deleted", "") == id or (not id and "Deleted" in entry):
            call.context.engine.events.tell("image", "delete", entry["Deleted"], {"name": entry["Deleted"]})


def volume(call: Call, action: str, thing: Volume) -> None:
    """`create`, `destroy`."""
    call.context.engine.events.tell("volume", action, thing.name, {"driver": thing.driver})


def network(call: Call, action: str, thing: LocalNetwork, container: str = "") -> None:
    """`create`, `destroy`, and of a container `connect` and `disconnect`."""
    attributes = {"name": thing.name, "type": thing.driver, **({"container": container} if container else {})}
    call.context.engine.events.tell("network", action, thing.id, attributes)


def pruned(call: Call, kind: str, reclaimed: int) -> None:
    """A prune of a whole kind of thing, with the bytes that it freed."""
    call.context.engine.events.tell(kind, "prune", "", {"reclaimed": str(reclaimed)})
