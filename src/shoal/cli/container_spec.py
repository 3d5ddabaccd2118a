"""What `run` and `create` ask of the engine: options to the body of POST /containers/create. Nothing is asked here.

Every fault is a ValueError in docker's words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from shoal.cli import grammar
from shoal.cli.command import Options
from shoal.cli.container_ports import bindings, exposed
from shoal.cli.words import Json, pairs, read_environment, read_labels
from shoal.kit.units import parse_bytes


def body(options: Options, environ: Mapping[str, str], *, attached: bool) -> Json:
    """The body of the request. `attached`: the streams are wanted unless --attach names some."""
    binds, volumes = _volumes(options.many("volume"))
    ports = bindings(options.many("publish"))
    _check_conflicts(options)
    config: Json = {
        "Hostname": options.text("hostname"),
        "Domainname": options.text("domainname"),
        "User": options.text("user"),
        **_streams(options, attached),
        "ExposedPorts": {port: {} for port in [*ports, *exposed(options.many("expose"))]},
        "Tty": options.flag("tty"),
        "Env": read_environment(options.many("env"), options.many("env-file"), environ),
        "Cmd": options.args[1:] or None,
        "Image": options.args[0],
        "Volumes": {path: {} for path in volumes},
        "WorkingDir": options.text("workdir"),
        "Entrypoint": _entrypoint(options),
        "Labels": read_labels(options.many("label"), options.many("label-file")),
        "Healthcheck": _health(options),
    }
    if options.changed("stop-signal"):
        config["StopSignal"] = options.text("stop-signal")
    if options.changed("stop-timeout"):
        config["StopTimeout"] = options.number("stop-timeout")
    mode, endpoints = _networks(options)
    host = _host(options) | {"Binds": binds, "PortBindings": ports, "NetworkMode": mode}
    if mode == "default":
        host["Links"] = endpoints[mode].pop("Links", [])
    if options.many("mount"):
        host["Mounts"] = [_mount(text) for text in options.many("mount")]
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}}


def _mount(text: str) -> Json:
    found = grammar.mount(text)
    if found["Type"] == "bind" and found.get("Source", "").startswith("."):
        found["Source"] = os.path.abspath(found["Source"])
    return found


def _check_conflicts(options: Options) -> None:
    if options.flag("rm") and options.text("restart") not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    if options.changed("mac-address") and not re.fullmatch(
        r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", options.text("mac-address")
    ):
        raise ValueError(f"{options.text('mac-address')} is not a valid mac address")


def _streams(options: Options, attached: bool) -> Json:
    interactive = options.flag("interactive")
    wanted = {name.lower() for name in options.many("attach")}
    for name in wanted - {"stdin", "stdout", "stderr"}:
        raise ValueError(
            f'invalid argument "{name}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'
        )
    if not wanted and attached:
        wanted = {"stdout", "stderr"} | ({"stdin"} if interactive else set())
    return {
        "AttachStdin": "stdin" in wanted,
        "AttachStdout": "stdout" in wanted,
        "AttachStderr": "stderr" in wanted,
        "OpenStdin": interactive,
        "StdinOnce": interactive and "stdin" in wanted,
    }


def _entrypoint(options: Options) -> list[str] | None:
    if not options.changed("entrypoint"):
        return None
    return [options.text("entrypoint")]  # an empty one undoes the image's


def _volumes(values: list[str]) -> tuple[list[str], list[str]]:
    """`-v` as binds (source given, relative ones made absolute) and anonymous volumes (target only)."""
    binds: list[str] = []
    volumes: list[str] = []
    for text in values:
        drive = re.match(r"[a-zA-Z]:[\\/]", text)
        source, colon, rest = text[2:].partition(":") if drive else text.partition(":")
        source = text[:2] + source if drive else source
        if not colon:
            volumes.append(text)
        elif source.startswith((".", "~")):
            path = os.path.abspath(os.path.expanduser(source))
            binds.append(f"{path}:{rest}")
        else:
            binds.append(text)
    return binds, volumes


def _health(options: Options) -> Json | None:
    times = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }
    given = options.any_changed("health-cmd", "health-retries", *(f"health-{name}" for name in times))
    if options.flag("no-healthcheck"):
        if given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given:
        return None
    check: Json = {}
    if options.text("health-cmd"):
        check["Test"] = ["CMD-SHELL", options.text("health-cmd")]
    for name, key in times.items():
        if options.duration(f"health-{name}") < 0:
            raise ValueError(f"--health-{name} cannot be negative")
        if options.changed(f"health-{name}"):
            check[key] = options.duration(f"health-{name}")
    if options.number("health-retries") < 0:
        raise ValueError("--health-retries cannot be negative")
    if options.changed("health-retries"):
        check["Retries"] = options.number("health-retries")
    return check


_LISTS = {
    "cap-add": "CapAdd", "cap-drop": "CapDrop", "dns": "Dns", "dns-option": "DnsOptions", "dns-search": "DnsSearch",
    "group-add": "GroupAdd", "volumes-from": "VolumesFrom", "device-cgroup-rule": "DeviceCgroupRules",
}  # fmt: skip
_TEXTS = {
    "cgroup-parent": "CgroupParent", "cgroupns": "CgroupnsMode", "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems", "ipc": "IpcMode", "isolation": "Isolation", "pid": "PidMode", "runtime": "Runtime",
    "userns": "UsernsMode", "uts": "UTSMode", "volume-driver": "VolumeDriver",
}  # fmt: skip
_SWITCHES = {
    "oom-kill-disable": "OomKillDisable", "privileged": "Privileged", "publish-all": "PublishAllPorts",
    "read-only": "ReadonlyRootfs", "rm": "AutoRemove",
}  # fmt: skip
_SIZES = {
    "memory": "Memory", "memory-reservation": "MemoryReservation", "memory-swap": "MemorySwap", "shm-size": "ShmSize",
}  # fmt: skip
_RATES = {
    "device-read-bps": "BlkioDeviceReadBps", "device-write-bps": "BlkioDeviceWriteBps",
    "device-read-iops": "BlkioDeviceReadIOps", "device-write-iops": "BlkioDeviceWriteIOps",
}  # fmt: skip
_NUMBERS = {
    "blkio-weight": "BlkioWeight", "cpu-period": "CpuPeriod", "cpu-quota": "CpuQuota", "cpu-shares": "CpuShares",
    "oom-score-adj": "OomScoreAdj", "pids-limit": "PidsLimit",
}  # fmt: skip


def _host(options: Options) -> Json:
    host: Json = {key: options.many(name) for name, key in _LISTS.items()}
    for key in ("CapAdd", "CapDrop"):
        host[key] = [grammar.capability(name) for name in host[key]]
    host |= {key: options.text(name) for name, key in _TEXTS.items()}
    host |= {key: options.flag(name) for name, key in _SWITCHES.items()}
    host |= resources(options)
    host |= {
        "LogConfig": {"Type": options.text("log-driver"), "Config": pairs(options.many("log-opt"))},
        "RestartPolicy": restart_policy(options.text("restart")),
        "ExtraHosts": [_extra_host(text) for text in options.many("add-host")],
        "SecurityOpt": [_security(text) for text in options.many("security-opt")],
        "StorageOpt": pairs(options.many("storage-opt")),
        "Sysctls": pairs(options.many("sysctl")),
        "Tmpfs": {path: given for path, _, given in (text.partition(":") for text in options.many("tmpfs"))},
        "Ulimits": [grammar.ulimit(text) for text in options.many("ulimit")],
        "Devices": [_device(text) for text in options.many("device")],
        "BlkioWeightDevice": [_disk(text, "Weight", int) for text in options.many("blkio-weight-device")],
        "Annotations": pairs(options.many("annotation")),
        "ShmSize": options.size("shm-size"),
    }
    for name, key in _RATES.items():
        host[key] = [_disk(text, "Rate", parse_bytes if name.endswith("bps") else int) for text in options.many(name)]
    if options.changed("memory-swappiness"):
        host["MemorySwappiness"] = options.number("memory-swappiness")
    if options.changed("init"):
        host["Init"] = options.flag("init")
    if options.text("log-driver") != "none" or not options.many("log-opt"):
        return host
    raise ValueError("invalid logging opts for driver none")


def resources(options: Options) -> Json:
    """What `update` can change too: memory, CPUs, processes."""
    found: Json = {}
    for name, key in _SIZES.items():
        if name != "shm-size" and options.changed(name):
            found[key] = options.size(name)
    for name, key in _NUMBERS.items():
        if name != "oom-score-adj" and options.changed(name):
            found[key] = options.number(name)
    for name, key in (("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")):
        if options.changed(name):
            found[key] = options.text(name)
    if options.changed("cpus"):
        found["NanoCpus"] = options.nano_cpus("cpus")
    return found


def restart_policy(text: str) -> Json:
    """`no`, `always`, `unless-stopped`, `on-failure[:N]`."""
    name, colon, count = text.partition(":")
    if colon and not count.isdigit():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count) if count else 0}


def _extra_host(text: str) -> str:
    address, _, name = grammar.host(text).partition(" ")
    return f"{name}:{address}"


def _security(text: str) -> str:
    """A seccomp profile is sent whole: the daemon has no business with the caller's files."""
    key, equals, value = text.partition("=")
    if key == "seccomp" and equals and value not in ("unconfined", "builtin"):
        import json

        with open(value, encoding="utf-8") as file:
            return f"seccomp={json.dumps(json.load(file), separators=(',', ':'))}"
    return text


def _device(text: str) -> Json:
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"bad format for path: {text}")
    source = target = parts[0]
    rights = "rwm"
    if len(parts) == 3:
        target, rights = parts[1], parts[2]
    elif len(parts) == 2:
        if re.fullmatch("[rwm]{1,3}", parts[1]):
            rights = parts[1]
        else:
            target = parts[1]
    if not re.fullmatch("[rwm]{1,3}", rights):
        raise ValueError(f"bad mode specified: {rights}")
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": rights}


def _disk(text: str, what: str, number: Callable[[str], int]) -> Json:
    """`/dev/sda:1mb`: a limit for one disk."""
    path, _, value = text.partition(":")
    if not path.startswith("/dev/") or not value:
        raise ValueError(f"bad format for device path: {text}")
    try:
        if (wanted := number(value)) >= 0:
            return {"Path": path, what: wanted}
    except ValueError:
        pass
    raise ValueError(f"invalid {what.lower()} for device: {text}")


def _networks(options: Options) -> tuple[str, Json]:
    """NetworkMode and the endpoints of each network; the plain options belong to the first network."""
    asked = [grammar.network(text) for text in options.many("network")] or [{"Target": "default"}]
    if not all(network.get("Target") for network in asked):
        raise ValueError("no name set for network")
    first = asked[0]
    for option, key in (("ip", "IPv4"), ("ip6", "IPv6"), ("mac-address", "Mac")):
        if options.changed(option):
            first[key] = options.text(option)
    if options.many("network-alias"):
        first["Aliases"] = [*first.get("Aliases", []), *options.many("network-alias")]
    if options.many("link-local-ip"):
        first["LinkLocal"] = [*first.get("LinkLocal", []), *options.many("link-local-ip")]
    if options.many("link"):
        first["Links"] = [link if ":" in link else f"{link}:{link}" for link in options.many("link")]
    mode = first["Target"]
    if mode.startswith("container:") or mode in ("host", "none"):
        return mode, {} if mode.startswith("container:") else {mode: endpoint(first)}
    return mode, {network["Target"]: endpoint(network) for network in asked}


def endpoint(network: Json) -> Json:
    """EndpointSettings of one network."""
    found: Json = {}
    ipam = {
        key: network[name]
        for name, key in (("IPv4", "IPv4Address"), ("IPv6", "IPv6Address"), ("LinkLocal", "LinkLocalIPs"))
        if network.get(name)
    }
    if ipam:
        found["IPAMConfig"] = ipam
    for name, key in (("Aliases", "Aliases"), ("Links", "Links"), ("Mac", "MacAddress"), ("DriverOpts", "DriverOpts"),
                      ("GwPriority", "GwPriority")):  # fmt: skip
        if network.get(name):
            found[key] = network[name]
    return found
