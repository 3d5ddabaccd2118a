"""What a container asks of the network, and what is left of that when it does not run. Pure."""

from __future__ import annotations

from shoal.engine.records import Record
from shoal.model.container import EndpointSettings
from shoal.network.sandbox import SandboxRequest


def request(record: Record) -> SandboxRequest:
    """What to ask of the network for a container."""
    container = record.container
    config, host = container.config, container.host_config
    return SandboxRequest(
        container_id=container.id, name=container.name, hostname=config.hostname, domainname=config.domainname,
        network_mode="none" if config.network_disabled else host.network_mode or "bridge",
        endpoints=record.asked, port_bindings=host.port_bindings, exposed_ports=sorted(config.exposed_ports),
        publish_all=host.publish_all_ports, dns=host.dns, dns_options=host.dns_options, dns_search=host.dns_search,
        extra_hosts=host.extra_hosts,
    )  # fmt: skip


def released(endpoint: EndpointSettings) -> EndpointSettings:
    """What `inspect` shows of a network while the container does not run."""
    return EndpointSettings(
        ipam_config=endpoint.ipam_config, aliases=endpoint.aliases, driver_opts=endpoint.driver_opts,
        network_id=endpoint.network_id, dns_names=endpoint.dns_names,
    )  # fmt: skip
