"""What a container asks of the network, and what is left of that when it does not run. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from shoal.engine import refusals
from shoal.engine.records import Record
from shoal.model.container import ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig
from shoal.model.errors import InvalidArgument
from shoal.network.sandbox import SandboxRequest


def endpoints(config: ContainerConfig, host: HostConfig, networking: NetworkingConfig) -> dict[str, EndpointSettings]:
    """The networks that a new container names, each checked, by name.

    Clients before API 1.44 have one MAC address for the whole container: it is that of the main network's interface.
    """
    asked, mac, mode = networking.endpoints_config, config.mac_address, host.network_mode or "bridge"
    for settings in asked.values():
        refusals.check_endpoint(settings)
    if not mac:
        return asked
    if mode == "host" or mode.startswith("container:"):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    main = mode if mode in asked or not asked else next(iter(asked))
    settings = asked.get(main, EndpointSettings())
    if settings.mac_address not in ("", mac):
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be "
            "left empty"
        )
    return {**asked, main: replace(settings, mac_address=mac)}


def request(record: Record) -> SandboxRequest:
    """What to ask of the network for a container."""
    container = record.container
    config, host = container.config, container.host_config
    return SandboxRequest(
        container_id=container.id, name=container.name, hostname=config.hostname, domainname=config.domainname,
        network_mode="none" if config.network_disabled else host.network_mode or "bridge",
        endpoints=record.asked, port_bindings=host.port_bindings, exposed_ports=sorted(config.exposed_ports),
        publish_all=host.publish_all_ports, dns=host.dns, dns_options=host.dns_options, dns_search=host.dns_search,
        extra_hosts=host.extra_hosts, managed=record.managed,
    )  # fmt: skip


def released(endpoint: EndpointSettings) -> EndpointSettings:
    """What `inspect` shows of a network while the container does not run."""
    return EndpointSettings(
        ipam_config=endpoint.ipam_config, aliases=endpoint.aliases, driver_opts=endpoint.driver_opts,
        network_id=endpoint.network_id, dns_names=endpoint.dns_names,
    )  # fmt: skip
