"""Networks, attachments, endpoints and ports, wire <-> model.

What real engines insist on: `driver_state` with the VXLAN id as an option and `ipam.driver` are always there, even
where they say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shoal.model import objects as m
from shoal.model import swarm_spec as s
from shoal.wire.basics import annotations_to_wire, from_enum, meta_from_wire, meta_to_wire, to_enum
from shoal.wire.pb import swarmkit_pb2 as pb

VXLAN_IDS = "com.docker.network.driver.overlay.vxlanid_list"
"""The option in which engines find an overlay's VXLAN id."""

NetworkOf = Callable[[str], m.Network | None]
"""The network with an id: a task on the wire carries its networks whole."""


def network_to_wire(network: m.Network) -> pb.Network:
    """A swarm network with what the allocator gave it."""
    spec, driver = network.spec, network.driver or "overlay"
    state = dict(spec.options)
    if network.vxlan_id:
        state[VXLAN_IDS] = str(network.vxlan_id)
    return pb.Network(
        id=network.id,
        meta=meta_to_wire(network),
        spec=pb.NetworkSpec(
            annotations=annotations_to_wire(spec.name, spec.labels),
            driver_config=pb.Driver(name=spec.driver or driver, options=spec.options),
            ipv6_enabled=spec.enable_ipv6,
            internal=spec.internal,
            ipam=_ipam_to_wire(spec.ipam) if spec.ipam else None,
            attachable=spec.attachable,
            ingress=spec.ingress,
        ),
        driver_state=pb.Driver(name=driver, options=state),
        ipam=_ipam_to_wire(network.ipam),
    )


def network_from_wire(network: pb.Network) -> m.Network:
    """The counterpart of `network_to_wire`."""
    spec, state = network.spec, network.driver_state
    vxlan = state.options.get(VXLAN_IDS, "").split(",")[0]
    return m.Network(
        id=network.id,
        **meta_from_wire(network.meta),
        spec=s.NetworkSpec(
            name=spec.annotations.name,
            labels=dict(spec.annotations.labels),
            driver=spec.driver_config.name,
            options=dict(spec.driver_config.options),
            enable_ipv6=spec.ipv6_enabled,
            internal=spec.internal,
            ipam=_ipam_from_wire(spec.ipam) if spec.HasField("ipam") else None,
            attachable=spec.attachable,
            ingress=spec.ingress,
        ),
        driver=state.name,
        vxlan_id=int(vxlan) if vxlan.isdigit() else 0,
        ipam=_ipam_from_wire(network.ipam),
    )


def _ipam_to_wire(ipam: s.IPAM) -> pb.IPAMOptions:
    return pb.IPAMOptions(
        driver=pb.Driver(name=ipam.driver or "default", options=ipam.options),
        configs=[
            pb.IPAMConfig(
                family="IPV6" if ":" in config.subnet else "IPV4",
                subnet=config.subnet,
                range=config.ip_range,
                gateway=config.gateway,
                reserved=config.auxiliary_addresses,
            )
            for config in ipam.config
        ],
    )


def _ipam_from_wire(ipam: pb.IPAMOptions) -> s.IPAM:
    return s.IPAM(
        driver=ipam.driver.name or "default",
        options=dict(ipam.driver.options),
        config=[
            s.IPAMConfig(
                subnet=config.subnet,
                ip_range=config.range,
                gateway=config.gateway,
                auxiliary_addresses=dict(config.reserved),
            )
            for config in ipam.configs
        ],
    )


def attachment_to_wire(attachment: m.NetworkAttachment, network_of: NetworkOf) -> pb.NetworkAttachment:
    """A task on one network; of a network that is gone, only the id is left to tell."""
    network = network_of(attachment.network_id)
    return pb.NetworkAttachment(
        network=network_to_wire(network) if network else pb.Network(id=attachment.network_id),
        addresses=attachment.addresses,
        aliases=attachment.aliases,
        driver_attachment_opts=attachment.driver_opts,
    )


def attachment_from_wire(attachment: pb.NetworkAttachment) -> m.NetworkAttachment:
    """The counterpart of `attachment_to_wire`; the network itself comes from `network_from_wire`."""
    return m.NetworkAttachment(
        network_id=attachment.network.id,
        addresses=list(attachment.addresses),
        aliases=list(attachment.aliases),
        driver_opts=dict(attachment.driver_attachment_opts),
    )


def ports_to_wire(ports: Iterable[s.PortConfig]) -> list[pb.PortConfig]:
    """Published ports."""
    return [
        pb.PortConfig(
            name=port.name,
            protocol=to_enum(port.protocol, "tcp"),
            target_port=port.target_port,
            published_port=port.published_port,
            publish_mode=to_enum(port.publish_mode, "ingress"),
        )
        for port in ports
    ]


def ports_from_wire(ports: Iterable[pb.PortConfig]) -> list[s.PortConfig]:
    """The counterpart of `ports_to_wire`."""
    return [
        s.PortConfig(
            name=port.name,
            protocol=from_enum(pb.PortConfig.Protocol, port.protocol),
            target_port=port.target_port,
            published_port=port.published_port,
            publish_mode=from_enum(pb.PortConfig.PublishMode, port.publish_mode),
        )
        for port in ports
    ]


def endpoint_spec_to_wire(spec: s.EndpointSpec) -> pb.EndpointSpec:
    """How a service is reached."""
    return pb.EndpointSpec(mode=to_enum(spec.mode, "vip"), ports=ports_to_wire(spec.ports))


def endpoint_spec_from_wire(spec: pb.EndpointSpec) -> s.EndpointSpec:
    """The counterpart of `endpoint_spec_to_wire`."""
    return s.EndpointSpec(mode=from_enum(pb.EndpointSpec.ResolutionMode, spec.mode), ports=ports_from_wire(spec.ports))


def endpoint_to_wire(endpoint: m.Endpoint) -> pb.Endpoint:
    """What the allocator gave a service: ports and virtual addresses."""
    return pb.Endpoint(
        spec=endpoint_spec_to_wire(endpoint.spec),
        ports=ports_to_wire(endpoint.ports),
        virtual_ips=[pb.Endpoint.VirtualIP(network_id=vip.network_id, addr=vip.addr) for vip in endpoint.virtual_ips],
    )


def endpoint_from_wire(endpoint: pb.Endpoint) -> m.Endpoint:
    """The counterpart of `endpoint_to_wire`."""
    return m.Endpoint(
        spec=endpoint_spec_from_wire(endpoint.spec),
        ports=ports_from_wire(endpoint.ports),
        virtual_ips=[m.VirtualIP(network_id=vip.network_id, addr=vip.addr) for vip in endpoint.virtual_ips],
    )
