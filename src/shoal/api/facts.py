"""What GET /info and GET /version tell, put together from the daemon's parts."""

from __future__ import annotations

import os
import sys
from typing import Any

from shoal import __version__
from shoal.api import present, versions
from shoal.api.call import Call
from shoal.api.printing import or_null, printed
from shoal.node.info import SwarmInfo


def version(call: Call) -> dict[str, Any]:
    """GET /version."""
    system = call.context.engine.system.facts
    kernel, machine = system.kernel, system.go_architecture
    details = {
        "ApiVersion": str(versions.MAXIMUM),
        "Arch": machine,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": kernel,
        "MinAPIVersion": str(versions.MINIMUM),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "Shoal"},
        "Components": [
            {"Name": "Engine", "Version": __version__, "Details": details},
            {"Name": "Python", "Version": sys.version.partition(" ")[0], "Details": {}},
        ],
        "Version": __version__,
        "ApiVersion": str(versions.MAXIMUM),
        "MinAPIVersion": str(versions.MINIMUM),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": machine,
        "KernelVersion": kernel,
        "BuildTime": "",
    }


def info(call: Call) -> dict[str, Any]:
    """GET /info."""
    engine = call.context.engine
    system, options = engine.system.facts, engine.options
    states = [container.state for container in engine.containers.list()]
    running = sum(1 for state in states if state.running and not state.paused)
    paused = sum(1 for state in states if state.paused)
    swarm = call.context.node.swarm_info()
    return {
        "ID": call.context.engine_id,
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(states) - running - paused,
        "Images": len(engine.images.list()),
        "Driver": "overlay2",
        "DriverStatus": [["Native Overlay Diff", "true"]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null", "overlay"],
            "Authorization": None,
            "Log": ["json-file", "local", "none"],
        },
        "MemoryLimit": True,
        "SwapLimit": system.swap_limit,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "IPv4Forwarding": True,
        "Debug": False,
        "NFd": len(os.listdir("/proc/self/fd")),
        "OomKillDisable": False,
        "NGoroutines": 0,
        "SystemTime": printed(call.context.clock.now()),
        "LoggingDriver": options.log_driver,
        "CgroupDriver": system.cgroup_driver,
        "CgroupVersion": system.cgroup_version,
        "NEventsListener": 0,
        "KernelVersion": system.kernel,
        "OperatingSystem": system.operating_system,
        "OSVersion": system.os_version,
        "OSType": "linux",
        "Architecture": system.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registries(options.insecure_registries, options.registry_mirrors),
        "NCPU": system.cpus,
        "MemTotal": system.memory,
        "GenericResources": None,
        "DockerRootDir": str(options.data_root),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": engine.system.hostname,
        "Labels": options.labels,
        "ExperimentalBuild": False,
        "ServerVersion": __version__,
        "Runtimes": {"crun": {"path": options.crun}},
        "DefaultRuntime": "crun",
        "Swarm": _swarm(swarm),
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": options.init,
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": system.security,
        "CDISpecDirs": None,
        "Warnings": or_null(list(swarm.warnings)),
    }


def _registries(insecure: list[str], mirrors: list[str]) -> dict[str, Any]:
    shown = [f"{mirror.rstrip('/')}/" for mirror in mirrors]
    names = {
        name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False} for name in insecure if "/" not in name
    }
    return {
        "InsecureRegistryCIDRs": [*(name for name in insecure if "/" in name), "::1/128", "127.0.0.0/8"],
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Mirrors": shown, "Secure": True, "Official": True},
            **names,
        },
        "Mirrors": or_null(shown),
    }


def _swarm(info: SwarmInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "NodeID": info.node_id,
        "NodeAddr": info.node_addr,
        "LocalNodeState": info.local_node_state,
        "ControlAvailable": info.control_available,
        "Error": info.error,
        "RemoteManagers": or_null([printed(manager) for manager in info.remote_managers]),
    }
    if info.control_available:
        shown |= {"Nodes": info.nodes, "Managers": info.managers}
    if info.cluster is not None:
        shown["Cluster"] = present.cluster(info.cluster)
    return shown
