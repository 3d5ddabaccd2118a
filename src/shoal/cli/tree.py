"""Every command: where its code is, and the line that says what it does."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: the module in this package that declares it, its one line, and more where there is more to say."""

    module: str
    short: str
    long: str = ""


class Group(NamedTuple):
    """A noun with commands below it, and the section of the root's help that lists it."""

    short: str
    section: str


GROUPS: dict[str, Group] = {
    "container": Group("Manage containers", "Management Commands"),
    "image": Group("Manage images", "Management Commands"),
    "network": Group("Manage networks", "Management Commands"),
    "system": Group("Manage Docker", "Management Commands"),
    "volume": Group("Manage volumes", "Management Commands"),
    "node": Group("Manage Swarm nodes", "Swarm Commands"),
    "service": Group("Manage Swarm services", "Swarm Commands"),
    "stack": Group("Manage Swarm stacks", "Swarm Commands"),
    "swarm": Group("Manage Swarm", "Swarm Commands"),
}

COMMANDS: dict[str, Entry] = {
    "container attach": Entry(
        "container_attach", "Attach local standard input, output, and error streams to a running container"
    ),
    "container create": Entry("container_run", "Create a new container"),
    "container exec": Entry("container_exec", "Execute a command in a running container"),
    "container inspect": Entry("inspect", "Display detailed information on one or more containers"),
    "container kill": Entry("container_control", "Kill one or more running containers"),
    "container logs": Entry("container_logs", "Fetch the logs of a container"),
    "container ls": Entry("container_list", "List containers"),
    "container pause": Entry("container_control", "Pause all processes within one or more containers"),
    "container port": Entry("container_list", "List port mappings or a specific mapping for the container"),
    "container prune": Entry("prune", "Remove all stopped containers"),
    "container rename": Entry("container_control", "Rename a container"),
    "container restart": Entry("container_control", "Restart one or more containers"),
    "container rm": Entry("container_control", "Remove one or more containers"),
    "container run": Entry("container_run", "Create and run a new container from an image"),
    "container start": Entry("container_start", "Start one or more stopped containers"),
    "container stats": Entry("container_stats", "Display a live stream of container(s) resource usage statistics"),
    "container stop": Entry("container_control", "Stop one or more running containers"),
    "container top": Entry("container_list", "Display the running processes of a container"),
    "container unpause": Entry("container_control", "Unpause all processes within one or more containers"),
    "container update": Entry("container_update", "Update configuration of one or more containers"),
    "container wait": Entry(
        "container_control", "Block until one or more containers stop, then print their exit codes"
    ),
    "image history": Entry("image_list", "Show the history of an image"),
    "image import": Entry("image_transfer", "Import the contents from a tarball to create a filesystem image"),
    "image inspect": Entry("inspect", "Display detailed information on one or more images"),
    "image load": Entry("image_transfer", "Load an image from a tar archive or STDIN"),
    "image ls": Entry("image_list", "List images"),
    "image prune": Entry("prune", "Remove unused images"),
    "image pull": Entry("image_registry", "Download an image from a registry"),
    "image push": Entry("image_registry", "Upload an image to a registry"),
    "image rm": Entry("image_control", "Remove one or more images"),
    "image save": Entry("image_transfer", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "image tag": Entry("image_control", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "network connect": Entry("network", "Connect a container to a network"),
    "network create": Entry("network", "Create a network"),
    "network disconnect": Entry("network", "Disconnect a container from a network"),
    "network inspect": Entry("inspect", "Display detailed information on one or more networks"),
    "network ls": Entry("network", "List networks"),
    "network prune": Entry("prune", "Remove all unused networks"),
    "network rm": Entry("network", "Remove one or more networks"),
    "node demote": Entry("node", "Demote one or more nodes from manager in the swarm"),
    "node inspect": Entry("node_inspect", "Display detailed information on one or more nodes"),
    "node ls": Entry("node_list", "List nodes in the swarm"),
    "node promote": Entry("node", "Promote one or more nodes to manager in the swarm"),
    "node ps": Entry("task_list", "List tasks running on one or more nodes, defaults to current node"),
    "node rm": Entry("node", "Remove one or more nodes from the swarm"),
    "node update": Entry("node", "Update a node"),
    "service create": Entry("service_create", "Create a new service"),
    "service inspect": Entry("service_inspect", "Display detailed information on one or more services"),
    "service logs": Entry("service_logs", "Fetch the logs of a service or task"),
    "service ls": Entry("service_list", "List services"),
    "service ps": Entry("task_list", "List the tasks of one or more services"),
    "service rm": Entry("service_scale", "Remove one or more services"),
    "service rollback": Entry("service_scale", "Revert changes to a service's configuration"),
    "service scale": Entry("service_scale", "Scale one or multiple replicated services"),
    "service update": Entry("service_update", "Update a service"),
    "stack config": Entry("stack_deploy", "Outputs the final config file, after doing merges and interpolations"),
    "stack deploy": Entry("stack_deploy", "Deploy a new stack or update an existing stack"),
    "stack ls": Entry("stack", "List stacks"),
    "stack ps": Entry("task_list", "List the tasks in the stack"),
    "stack rm": Entry("stack", "Remove one or more stacks"),
    "stack services": Entry("service_list", "List the services in the stack"),
    "swarm ca": Entry("swarm", "Display and rotate the root CA"),
    "swarm init": Entry("swarm_join", "Initialize a swarm"),
    "swarm join": Entry("swarm_join", "Join a swarm as a node and/or manager"),
    "swarm join-token": Entry("swarm", "Manage join tokens"),
    "swarm leave": Entry("swarm_join", "Leave the swarm"),
    "swarm update": Entry("swarm", "Update the swarm"),
    "system df": Entry("system_df", "Show docker disk usage"),
    "system events": Entry("events", "Get real time events from the server"),
    "system info": Entry("info", "Display system-wide information"),
    "system prune": Entry("prune", "Remove unused data"),
    "volume create": Entry("volume", "Create a volume"),
    "volume inspect": Entry("inspect", "Display detailed information on one or more volumes"),
    "volume ls": Entry("volume", "List volumes"),
    "volume prune": Entry("prune", "Remove unused local volumes"),
    "volume rm": Entry(
        "volume",
        "Remove one or more volumes",
        "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    ),
    "inspect": Entry("inspect", "Return low-level information on Docker objects"),
    "login": Entry(
        "login",
        "Authenticate to a registry",
        "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    ),
    "logout": Entry(
        "login",
        "Log out from a registry",
        "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
    ),
    "version": Entry("version", "Show the Docker version information"),
    "doctor": Entry("doctor", "Check what this machine must offer to run the daemon, and say what to do"),
}

TOP: dict[str, str] = {
    **{name: f"container {name}" for name in (
        "attach", "create", "exec", "kill", "logs", "pause", "port", "rename", "restart", "rm", "run", "start", "stats",
        "stop", "top", "unpause", "update", "wait",
    )},
    **{name: f"image {name}" for name in ("history", "import", "load", "pull", "push", "save", "tag")},
    "ps": "container ls",
    "images": "image ls",
    "rmi": "image rm",
    "info": "system info",
    "events": "system events",
}  # fmt: skip
"""Commands that may be given without their noun."""

ALIASES: dict[str, str] = {
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "node list": "node ls",
    "node remove": "node rm",
    "service list": "service ls",
    "service remove": "service rm",
    "stack down": "stack rm",
    "stack list": "stack ls",
    "stack remove": "stack rm",
    "stack up": "stack deploy",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}
"""Other words for the same."""

COMMON = ("run", "exec", "ps", "pull", "push", "images", "login", "logout", "version", "info")


def canonical(path: str) -> str:
    """The name under which `path` is declared: `ps` -> `container ls`."""
    return TOP.get(path) or ALIASES.get(path) or path


def find(path: str) -> Entry:
    """The command that `path` means. Raises KeyError."""
    return COMMANDS[canonical(path)]


def all_names(path: str) -> list[str]:
    """Every way to call the same command, its full name first."""
    name = canonical(path)
    others = [alias for alias, target in ALIASES.items() if target == name]
    return [name, *others, *(top for top, target in TOP.items() if target == name)]


def commands_of(group: str) -> list[tuple[str, str]]:
    """Names and lines of the commands below a noun."""
    return [
        (path.partition(" ")[2], entry.short)
        for path, entry in sorted(COMMANDS.items())
        if path.startswith(f"{group} ")
    ]


def sections() -> list[tuple[str, list[tuple[str, str]]]]:
    """The root's help: titles, and what stands below each."""
    top = sorted([*TOP, *(path for path in COMMANDS if " " not in path)])
    grouped = {
        title: [(name, group.short) for name, group in GROUPS.items() if group.section == title]
        for title in ("Management Commands", "Swarm Commands")
    }
    grouped["Management Commands"].append(("machine", "Create and manage machines to run containers on"))
    return [
        ("Common Commands", [(name, find(name).short) for name in COMMON]),
        ("Management Commands", sorted(grouped["Management Commands"])),
        ("Swarm Commands", grouped["Swarm Commands"]),
        ("Commands", [(name, find(name).short) for name in top if name not in COMMON]),
    ]
