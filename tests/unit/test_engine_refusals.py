"""Options of containers that Shoal does not have are refused by name; those that it has reach the runtime."""

from __future__ import annotations

import re

import pytest

from shoal.api.body import decode_body
from shoal.engine import refusals
from shoal.engine.cgroup import numbered_rules
from shoal.engine.limits import files_of_disks
from shoal.engine.wishes import endpoints
from shoal.model.container import (
    ContainerConfig,
    CreateContainer,
    DeviceMapping,
    DeviceRequest,
    EndpointIPAM,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
    ThrottleDevice,
    WeightDevice,
)
from shoal.model.errors import InvalidArgument, ShoalError, Unimplemented

MAC = "92:d0:c6:0a:29:33"

REFUSED = [
    (HostConfig(links=["db:db"]), Unimplemented, "--link is not supported"),
    (HostConfig(userns_mode="private"), InvalidArgument, "--userns: invalid USER mode: private"),
    (HostConfig(isolation="hyperv"), InvalidArgument, "linux only supports 'default'"),
    (HostConfig(storage_opt={"size": "1G"}), InvalidArgument, "--storage-opt is supported only for overlay over xfs"),
    (HostConfig(volume_driver="rexray"), InvalidArgument, 'plugin "rexray" not found'),
    (HostConfig(cpu_realtime_runtime=950000), InvalidArgument, "kernel does not support CPU real-time scheduler"),
    (
        HostConfig(device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])]),
        Unimplemented,
        'could not select device driver "" with capabilities: [[gpu]]',
    ),
    (HostConfig(devices=[DeviceMapping(cgroup_permissions="rx")]), InvalidArgument, "invalid device mode: rx"),
    (HostConfig(device_cgroup_rules=["c 1:3"]), InvalidArgument, "invalid device cgroup rule format: 'c 1:3'"),
    (HostConfig(annotations={"": "x"}), InvalidArgument, "invalid Annotations"),
]


@pytest.mark.parametrize(("host", "kind", "words"), REFUSED)
def test_what_would_be_dropped_is_refused(host: HostConfig, kind: type[ShoalError], words: str) -> None:
    """Each by its name, in docker's words where docker has them, with a status below 500 or 501."""
    with pytest.raises(kind, match=re.escape(words)):
        refusals.check(ContainerConfig(), host)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (EndpointSettings(links=["db:db"]), "--link is not supported"),
        (EndpointSettings(ipam_config=EndpointIPAM(ipv6_address="2001:db8::33")), "IPv6 is not supported"),
        (EndpointSettings(ipam_config=EndpointIPAM(link_local_ips=["169.254.1.1"])), "link-local addresses"),
        (EndpointSettings(mac_address="1:2"), "invalid MAC address 1:2"),
    ],
)
def test_what_a_network_cannot_give_is_refused(asked: EndpointSettings, words: str) -> None:
    """The same for one network, at creation and when a container is connected later."""
    with pytest.raises(ShoalError, match=re.escape(words)):
        endpoints(ContainerConfig(), HostConfig(), NetworkingConfig(endpoints_config={"lan": asked}))


def test_what_docker_sends_unasked_passes() -> None:
    """The body of `docker run IMAGE` (28.2), with its empty and default options, is not refused."""
    body = b"""{"Image":"a","HostConfig":{"Links":null,"VolumeDriver":"","UsernsMode":"","Isolation":"",
        "StorageOpt":null,"BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteIOps":null,
        "DeviceCgroupRules":null,"DeviceRequests":null,"Annotations":null,"MemorySwappiness":-1},
        "NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,"MacAddress":""}}}}"""
    asked = decode_body(body, CreateContainer)
    refusals.check(asked, asked.host_config)
    assert endpoints(asked, asked.host_config, asked.networking_config).keys() == {"default"}
    refusals.check(ContainerConfig(), HostConfig(userns_mode="host", volume_driver="local", isolation="default"))


def test_the_old_mac_address_is_the_main_networks() -> None:
    """Clients before API 1.44 name one for the container; a second one that differs makes no sense."""
    old = ContainerConfig(mac_address=MAC)
    assert endpoints(old, HostConfig(), NetworkingConfig()) == {"bridge": EndpointSettings(mac_address=MAC)}
    lan = NetworkingConfig(endpoints_config={"lan": EndpointSettings(aliases=["a"])})
    got = endpoints(old, HostConfig(network_mode="lan"), lan)
    assert got == {"lan": EndpointSettings(aliases=["a"], mac_address=MAC)}
    other = NetworkingConfig(endpoints_config={"lan": EndpointSettings(mac_address="02:42:0a:05:00:02")})
    with pytest.raises(InvalidArgument, match="must match the endpoint-specific MAC address"):
        endpoints(old, HostConfig(network_mode="lan"), other)
    with pytest.raises(InvalidArgument, match="conflicting options: mac-address and the network mode"):
        endpoints(old, HostConfig(network_mode="host"), NetworkingConfig())


def test_limits_of_single_disks() -> None:
    """Both generations of cgroups name the disk by its numbers."""
    host = HostConfig(
        blkio_device_read_bps=[ThrottleDevice(path="/dev/vda", rate=1000)],
        blkio_device_write_iops=[ThrottleDevice(path="/dev/vda", rate=5)],
        blkio_weight_device=[WeightDevice(path="/dev/vda", weight=300)],
    )
    assert files_of_disks(host, 1, lambda path: "254:0") == [
        ("blkio", "blkio.throttle.read_bps_device", "254:0 1000"),
        ("blkio", "blkio.throttle.write_iops_device", "254:0 5"),
        ("io", "blkio.bfq.weight_device", "254:0 300"),
    ]
    assert files_of_disks(host, 2, lambda path: "254:0") == [
        ("io", "io.max", "254:0 rbps=1000"),
        ("io", "io.max", "254:0 wiops=5"),
        ("io", "io.bfq.weight", "254:0 300"),
    ]


def test_a_rule_for_all_devices_is_one_for_each_kind() -> None:
    """Written as it is, cgroup v1 would take it for every device there is, whatever its numbers."""
    assert numbered_rules("a 10:* rw") == ["b 10:* rw", "c 10:* rw"]
    assert numbered_rules("c 10:200 rwm") == ["c 10:200 rwm"]
