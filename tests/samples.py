"""A small swarm as the Engine API shows it: what fake daemons answer in tests of command lines."""

from __future__ import annotations

from typing import Any

NODES: list[dict[str, Any]] = [
    {
        "ID": "sd88kjp8xd27wx7ozce2v7qo3",
        "Version": {"Index": 9},
        "CreatedAt": "2026-01-02T03:04:05.123456789Z",
        "UpdatedAt": "2026-01-02T03:05:05.123456789Z",
        "Spec": {"Labels": {"disk": "ssd"}, "Role": "manager", "Availability": "active"},
        "Description": {
            "Hostname": "myvm1",
            "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Resources": {"NanoCPUs": 2000000000, "MemoryBytes": 2087227392},
            "Engine": {
                "EngineVersion": "28.2.2",
                "Labels": {"provider": "local"},
                "Plugins": [
                    {"Type": "Log", "Name": "json-file"},
                    {"Type": "Network", "Name": "bridge"},
                    {"Type": "Network", "Name": "overlay"},
                    {"Type": "Volume", "Name": "local"},
                ],
            },
            "TLSInfo": {
                "TrustRoot": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "CertIssuerSubject": "MBMxETAPBgNVBAMTCHN3YXJtLWNh",
                "CertIssuerPublicKey": "MFkwEwYHKoZIzj0CAQ==",
            },
        },
        "Status": {"State": "ready", "Addr": "192.168.99.101"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "192.168.99.101:2377"},
    },
    {
        "ID": "81bc2g3uxpytgykor0r73g3e9",
        "Version": {"Index": 16},
        "CreatedAt": "2026-01-02T03:04:15Z",
        "UpdatedAt": "2026-01-02T03:05:15Z",
        "Spec": {"Labels": {}, "Role": "worker", "Availability": "drain"},
        "Description": {
            "Hostname": "myvm2",
            "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Resources": {"NanoCPUs": 1500000000, "MemoryBytes": 1043613696},
            "Engine": {"EngineVersion": "28.2.2"},
            "TLSInfo": {},
        },
        "Status": {"State": "down", "Message": "heartbeat failure", "Addr": "192.168.99.102"},
    },
]

SWARM: dict[str, Any] = {
    "ID": "abajmipo7b4xz5ip2nrla6b11",
    "Version": {"Index": 373},
    "CreatedAt": "2026-01-02T03:04:05Z",
    "UpdatedAt": "2026-01-02T03:04:05Z",
    "Spec": {
        "Name": "default",
        "Labels": {},
        "Orchestration": {"TaskHistoryRetentionLimit": 5},
        "Raft": {
            "SnapshotInterval": 10000,
            "KeepOldSnapshots": 0,
            "LogEntriesForSlowFollowers": 500,
            "ElectionTick": 10,
            "HeartbeatTick": 1,
        },
        "Dispatcher": {"HeartbeatPeriod": 5000000000},
        "CAConfig": {"NodeCertExpiry": 7776000000000000},
        "TaskDefaults": {},
        "EncryptionConfig": {"AutoLockManagers": False},
    },
    "TLSInfo": {
        "TrustRoot": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "CertIssuerSubject": "MBMxETAPBgNVBAMTCHN3YXJtLWNh",
        "CertIssuerPublicKey": "MFkwEwYHKoZIzj0CAQ==",
    },
    "RootRotationInProgress": False,
    "DefaultAddrPool": ["10.0.0.0/8"],
    "SubnetSize": 24,
    "DataPathPort": 4789,
    "JoinTokens": {
        "Worker": "SWMTKN-1-54nv19pp4b5z1kcrcauc18hfu9t6435gtauidf84cffmitmqgd-67irvhe81j5dzqnuyl8v3xi7d",
        "Manager": "SWMTKN-1-54nv19pp4b5z1kcrcauc18hfu9t6435gtauidf84cffmitmqgd-7p73s1dx5in4tatdymyhg9hu2",
    },
}

INFO: dict[str, Any] = {
    "ID": "7TRN:IPZB:QYBB:VPBQ:UMPP:KARE:6ZNR:XE6T:7EWV:PKF4:ZOJD:TPYS",
    "Containers": 14,
    "ContainersRunning": 3,
    "ContainersPaused": 1,
    "ContainersStopped": 10,
    "Images": 508,
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "Plugins": {
        "Volume": ["local"],
        "Network": ["bridge", "host", "null", "overlay"],
        "Authorization": None,
        "Log": ["json-file", "none"],
    },
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
    "IPv4Forwarding": True,
    "OomKillDisable": True,
    "NCPU": 2,
    "MemTotal": 2087227392,
    "Name": "myvm1",
    "Labels": ["provider=local"],
    "KernelVersion": "6.18.0",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "OSType": "linux",
    "OSVersion": "12",
    "Architecture": "x86_64",
    "ServerVersion": "28.2.2",
    "LoggingDriver": "json-file",
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": "1",
    "NEventsListener": 0,
    "DockerRootDir": "/var/lib/shoal",
    "IndexServerAddress": "https://index.docker.io/v1/",
    "RegistryConfig": {
        "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
        "InsecureRegistryCIDRs": ["127.0.0.0/8"],
        "Mirrors": [],
    },
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "Runtimes": {"crun": {"path": "crun"}},
    "DefaultRuntime": "crun",
    "LiveRestoreEnabled": True,
    "InitBinary": "catatonit",
    "ContainerdCommit": {"ID": ""},
    "RuncCommit": {"ID": "1.8.1"},
    "InitCommit": {"ID": "0.1.7"},
    "DefaultAddressPools": [{"Base": "172.17.0.0/16", "Size": 16}],
    "Warnings": ["WARNING: No blkio throttle.read_bps_device support"],
    "ExperimentalBuild": False,
    "Swarm": {
        "NodeID": "sd88kjp8xd27wx7ozce2v7qo3",
        "NodeAddr": "192.168.99.101",
        "LocalNodeState": "active",
        "ControlAvailable": True,
        "Error": "",
        "RemoteManagers": [{"NodeID": "sd88kjp8xd27wx7ozce2v7qo3", "Addr": "192.168.99.101:2377"}],
        "Nodes": 2,
        "Managers": 1,
        "Cluster": {key: value for key, value in SWARM.items() if key != "JoinTokens"},
    },
}

WEB: dict[str, Any] = {
    "ID": "6mxeoi4dk4bnoq9rhkgxq1mhc",
    "Version": {"Index": 21},
    "CreatedAt": "2026-01-02T03:10:05.5Z",
    "UpdatedAt": "2026-01-02T03:11:05.5Z",
    "Spec": {
        "Name": "getstartedlab_web",
        "Labels": {
            "com.docker.stack.image": "username/repo:tag",
            "com.docker.stack.namespace": "getstartedlab",
        },
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "username/repo:tag@sha256:e1a8b3e0d2b2f9b2c7f1e4d1a3c6f5e8d7b6a5c4d3e2f1a0b9c8d7e6f5a4b3c2",
                "Labels": {"com.docker.stack.namespace": "getstartedlab"},
                "Args": ["ping", "docker.com"],
                "Env": ["A=1", "B=two words"],
                "Dir": "/srv",
                "User": "www",
                "Init": True,
                "Mounts": [
                    {"Type": "bind", "Source": "/data", "Target": "/var/data", "ReadOnly": True},
                    {"Type": "volume", "Source": "vol", "Target": "/vol"},
                ],
                "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 10000000000},
                "Privileges": {"CredentialSpec": None, "SELinuxContext": None},
                "Isolation": "default",
                "Hosts": ["10.0.0.9 other"],
            },
            "Resources": {
                "Limits": {"NanoCPUs": 100000000, "MemoryBytes": 52428800},
                "Reservations": {"NanoCPUs": 50000000, "MemoryBytes": 20971520},
            },
            "RestartPolicy": {"Condition": "on-failure", "Delay": 5000000000, "MaxAttempts": 3},
            "Placement": {
                "Constraints": ["node.role==worker"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
                "MaxReplicas": 3,
            },
            "Networks": [{"Target": "o5jvowif16djo4ptkqv9mfbd2", "Aliases": ["web"]}],
            "ForceUpdate": 0,
            "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 5}},
        "UpdateConfig": {
            "Parallelism": 2,
            "Delay": 10000000000,
            "FailureAction": "pause",
            "Monitor": 5000000000,
            "MaxFailureRatio": 0.25,
            "Order": "start-first",
        },
        "RollbackConfig": {
            "Parallelism": 1,
            "FailureAction": "pause",
            "Monitor": 5000000000,
            "MaxFailureRatio": 0,
            "Order": "stop-first",
        },
        "EndpointSpec": {
            "Mode": "vip",
            "Ports": [
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 80, "PublishMode": "ingress"},
                {"Protocol": "tcp", "TargetPort": 81, "PublishedPort": 81, "PublishMode": "ingress"},
                {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host"},
            ],
        },
    },
    "Endpoint": {
        "Spec": {"Mode": "vip"},
        "Ports": [
            {"Protocol": "tcp", "TargetPort": 81, "PublishedPort": 81, "PublishMode": "ingress"},
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 80, "PublishMode": "ingress"},
            {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host"},
        ],
        "VirtualIPs": [{"NetworkID": "o5jvowif16djo4ptkqv9mfbd2", "Addr": "10.0.1.2/24"}],
    },
    "UpdateStatus": {
        "State": "completed",
        "StartedAt": "2026-01-02T03:10:05.5Z",
        "CompletedAt": "2026-01-02T03:11:05.5Z",
        "Message": "update completed",
    },
    "ServiceStatus": {"RunningTasks": 4, "DesiredTasks": 5, "CompletedTasks": 0},
}

AGENT: dict[str, Any] = {
    "ID": "9zkq5bqmxr2v4ynkd8u2fjw3s",
    "Version": {"Index": 33},
    "CreatedAt": "2026-01-02T03:20:05.5Z",
    "UpdatedAt": "2026-01-02T03:20:05.5Z",
    "Spec": {
        "Name": "agent",
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "redis:3.0.6", "Isolation": "default"},
            "Resources": {"Limits": {}, "Reservations": {}},
            "ForceUpdate": 0,
            "Runtime": "container",
        },
        "Mode": {"Global": {}},
        "EndpointSpec": {"Mode": "vip"},
    },
    "Endpoint": {"Spec": {}},
    "ServiceStatus": {"RunningTasks": 2, "DesiredTasks": 2, "CompletedTasks": 0},
}

SERVICES = [WEB, AGENT]


def task(number: int, slot: int, node: int, state: str, desired: str, **more: Any) -> dict[str, Any]:
    """A task of the web service."""
    return {
        "ID": f"5jvowif16djo4ptkqv9mfb{number:03}",
        "Version": {"Index": 100 + number},
        "CreatedAt": f"2026-01-02T03:{10 + number}:05Z",
        "UpdatedAt": f"2026-01-02T03:{10 + number}:09Z",
        "Labels": {},
        "Spec": WEB["Spec"]["TaskTemplate"],
        "ServiceID": WEB["ID"],
        "Slot": slot,
        "NodeID": NODES[node]["ID"] if node >= 0 else "",
        "Status": {"Timestamp": f"2026-01-02T03:{10 + number}:06Z", "State": state, "Message": "started", **more},
        "DesiredState": desired,
        "NetworksAttachments": [],
    }


TASKS = [
    task(1, 1, 0, "running", "running", PortStatus={"Ports": [
        {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host"}]}),
    task(2, 2, 1, "failed", "shutdown", Err="task: non-zero exit (1): something went wrong"),
    task(3, 2, 0, "preparing", "running"),
    task(4, 3, -1, "pending", "running", Err="no suitable node (insufficient resources on 2 nodes)"),
]  # fmt: skip

NETWORKS: list[dict[str, Any]] = [
    {
        "Name": "getstartedlab_webnet",
        "Id": "o5jvowif16djo4ptkqv9mfbd2",
        "Created": "2026-01-02T03:10:04.123456789Z",
        "Scope": "swarm",
        "Driver": "overlay",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}]},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": None,
        "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097"},
        "Labels": {"com.docker.stack.namespace": "getstartedlab"},
    },
    {
        "Name": "bridge",
        "Id": "7d86d31b1478e7cca9ebed7e73aa0fdeec46c5ca29497431d3007d2d9e15ed99",
        "Created": "2026-01-01T03:10:04.5Z",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "172.17.0.0/16"}]},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    },
]

CONTAINERS: list[dict[str, Any]] = [
    {
        "Id": "9cd87474be90a2e1a2e3a4a5a6a7a8a9b0b1b2b3b4b5b6b7b8b9c0c1c2c3c4c5",
        "Names": ["/coolName", "/other/alias"],
        "Image": "ubuntu:latest",
        "ImageID": "sha256:d74508fb6632491cea586a1fd7d748dfc5274cd6fdfedee309ecdcbc2bf5cb82",
        "Command": "/bin/sh -c 'while true; do echo hello; sleep 1; done'",
        "Created": 1767323045,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            {"PrivatePort": 444, "Type": "tcp"},
            {"PrivatePort": 53, "Type": "udp"},
        ],
        "Labels": {"com.example.vendor": "Acme", "b": "2"},
        "State": "running",
        "Status": "Up 2 minutes (healthy)",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "7d86"}}},
        "Mounts": [
            {"Type": "volume", "Name": "a-volume-with-a-long-name", "Source": "/x", "Destination": "/v", "RW": True},
            {"Type": "bind", "Source": "/host", "Destination": "/b", "RW": True},
        ],
        "SizeRw": 12288,
        "SizeRootFs": 1213440000,
    },
    {
        "Id": "3176a2479c92a2e1a2e3a4a5a6a7a8a9b0b1b2b3b4b5b6b7b8b9c0c1c2c3c4c5",
        "Names": ["/sleepy_dog"],
        "Image": "sha256:d74508fb6632491cea586a1fd7d748dfc5274cd6fdfedee309ecdcbc2bf5cb82",
        "ImageID": "sha256:d74508fb6632491cea586a1fd7d748dfc5274cd6fdfedee309ecdcbc2bf5cb82",
        "Command": "true",
        "Created": 1767319445,
        "Ports": [],
        "Labels": {},
        "State": "exited",
        "Status": "Exited (0) 3 hours ago",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    },
]

IMAGES: list[dict[str, Any]] = [
    {
        "Id": "sha256:d74508fb6632491cea586a1fd7d748dfc5274cd6fdfedee309ecdcbc2bf5cb82",
        "ParentId": "",
        "RepoTags": ["ubuntu:24.04", "ubuntu:latest", "localhost:5000/u/ubuntu:1"],
        "RepoDigests": ["ubuntu@sha256:45b23dee08af5e43a7fea6c4cf9c25ccf269ee113168c19722f87876677c5cb2"],
        "Created": 1757323045,
        "Size": 78123456,
        "SharedSize": -1,
        "Labels": {"a": "b"},
        "Containers": 2,
    },
    {
        "Id": "sha256:f1a2b3c4d5e6f708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
        "ParentId": "",
        "RepoTags": [],
        "RepoDigests": [],
        "Created": 1467323045,
        "Size": 1234,
        "SharedSize": -1,
        "Labels": None,
        "Containers": 0,
    },
]

VOLUMES: dict[str, Any] = {
    "Volumes": [
        {
            "Name": "tardis",
            "Driver": "local",
            "Mountpoint": "/var/lib/shoal/volumes/tardis",
            "CreatedAt": "2026-01-02T03:10:04Z",
            "Labels": {"a": "b"},
            "Scope": "local",
            "Options": {},
        },
        {"Name": "v2", "Driver": "local", "Mountpoint": "/v2", "Labels": None, "Scope": "local", "Options": None},
    ],
    "Warnings": [],
}

ROUTES: dict[str, Any] = {
    "GET /info": INFO,
    "GET /swarm": SWARM,
    "GET /nodes": NODES,
    f"GET /nodes/({NODES[0]['ID']}|myvm1|self)": NODES[0],
    f"GET /nodes/({NODES[1]['ID']}|myvm2)": NODES[1],
    "GET /services": SERVICES,
    f"GET /services/({WEB['ID']}|getstartedlab_web)": WEB,
    f"GET /services/({AGENT['ID']}|agent)": AGENT,
    "POST /services/create": (201, {"ID": WEB["ID"], "Warnings": None}),
    "POST /services/[^/]*/update": {"Warnings": None},
    "POST /nodes/[^/]*/update": None,
    "POST /swarm/init": NODES[0]["ID"],
    "POST /swarm/(join|leave|update)": None,
    "GET /tasks": TASKS,
    "GET /networks": NETWORKS,
    "GET /networks/(o5jvowif16djo4ptkqv9mfbd2|getstartedlab_webnet)": NETWORKS[0],
    "GET /networks/bridge": NETWORKS[1],
    "GET /containers/json": CONTAINERS,
    "GET /images/json": IMAGES,
    "GET /volumes": VOLUMES,
}
