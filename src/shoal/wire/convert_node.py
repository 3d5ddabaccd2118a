"""Nodes and what they say of themselves, wire <-> model."""

from __future__ import annotations

from shoal.model import objects as m
from shoal.model import swarm_spec as s
from shoal.wire.basics import (
    annotations_to_wire,
    from_enum,
    meta_from_wire,
    meta_to_wire,
    platform_from_wire,
    platform_to_wire,
    resources_from_wire,
    resources_to_wire,
    to_enum,
)
from shoal.wire.convert_network import NetworkOf, attachment_to_wire
from shoal.wire.pb import swarmkit_pb2 as pb


def description_to_wire(description: m.NodeDescription) -> pb.NodeDescription:
    """What a node says of itself."""
    engine, tls = description.engine, description.tls_info
    return pb.NodeDescription(
        hostname=description.hostname,
        platform=platform_to_wire(description.platform),
        resources=resources_to_wire(description.resources),
        engine=pb.EngineDescription(
            engine_version=engine.engine_version,
            labels=engine.labels,
            plugins=[pb.PluginDescription(type=plugin.type, name=plugin.name) for plugin in engine.plugins],
        ),
        tls_info=pb.NodeTLSInfo(
            trust_root=tls.trust_root.encode(),
            cert_issuer_subject=tls.cert_issuer_subject,
            cert_issuer_public_key=tls.cert_issuer_public_key,
        ),
    )


def description_from_wire(description: pb.NodeDescription) -> m.NodeDescription:
    """The counterpart of `description_to_wire`."""
    engine, tls = description.engine, description.tls_info
    return m.NodeDescription(
        hostname=description.hostname,
        platform=platform_from_wire(description.platform),
        resources=resources_from_wire(description.resources),
        engine=m.EngineDescription(
            engine_version=engine.engine_version,
            labels=dict(engine.labels),
            plugins=[m.Plugin(type=plugin.type, name=plugin.name) for plugin in engine.plugins],
        ),
        tls_info=m.TLSInfo(
            trust_root=tls.trust_root.decode(errors="replace"),
            cert_issuer_subject=tls.cert_issuer_subject,
            cert_issuer_public_key=tls.cert_issuer_public_key,
        ),
    )


def certificate_to_wire(node: m.Node) -> pb.Certificate:
    """How far a node's certificate is."""
    certificate = node.certificate
    return pb.Certificate(
        role=to_enum(certificate.role, "worker"),
        csr=certificate.csr,
        status=pb.IssuanceStatus(state=to_enum(certificate.state, "unknown"), err=certificate.error),
        certificate=certificate.pem,
        cn=node.id,
    )


def node_to_wire(node: m.Node, network_of: NetworkOf, data_path_port: int = 4789) -> pb.Node:
    """A node as its session message tells it: with the networks of its attachments whole."""
    attachments = [
        attachment_to_wire(m.NetworkAttachment(network_id=held.network_id, addresses=held.addresses), network_of)
        for held in node.attachments
    ]
    ingress = next((held for held in attachments if held.network.spec.ingress), None)
    manager = node.manager_status
    return pb.Node(
        id=node.id,
        meta=meta_to_wire(node),
        spec=pb.NodeSpec(
            annotations=annotations_to_wire(node.spec.name, node.spec.labels),
            desired_role=to_enum(node.spec.role, "worker"),
            membership="ACCEPTED",
            availability=to_enum(node.spec.availability, "active"),
        ),
        description=description_to_wire(node.description),
        status=pb.NodeStatus(state=to_enum(node.status.state), message=node.status.message, addr=node.status.addr),
        manager_status=(
            pb.ManagerStatus(
                raft_id=node.member_id,
                addr=manager.addr,
                leader=manager.leader,
                reachability=to_enum(manager.reachability, "unknown"),
            )
            if manager
            else None
        ),
        attachment=ingress,
        certificate=certificate_to_wire(node),
        role=to_enum(node.role, "worker"),
        attachments=attachments,
        vxlan_udp_port=data_path_port,
    )


def node_from_wire(node: pb.Node) -> m.Node:
    """The counterpart of `node_to_wire`."""
    certificate, manager = node.certificate, node.manager_status
    return m.Node(
        id=node.id,
        **meta_from_wire(node.meta),
        spec=s.NodeSpec(
            name=node.spec.annotations.name,
            labels=dict(node.spec.annotations.labels),
            role=from_enum(pb.NodeRole, node.spec.desired_role),
            availability=from_enum(pb.NodeSpec.Availability, node.spec.availability),
        ),
        description=description_from_wire(node.description),
        status=m.NodeStatus(
            state=from_enum(pb.NodeStatus.State, node.status.state),
            message=node.status.message,
            addr=node.status.addr,
        ),
        manager_status=(
            m.ManagerStatus(
                leader=manager.leader,
                reachability=from_enum(pb.ManagerStatus.Reachability, manager.reachability),
                addr=manager.addr,
            )
            if node.HasField("manager_status")
            else None
        ),
        member_id=manager.raft_id,
        certificate=m.Certificate(
            role=from_enum(pb.NodeRole, certificate.role),
            state=from_enum(pb.IssuanceStatus.State, certificate.status.state),
            csr=certificate.csr,
            pem=certificate.certificate,
            error=certificate.status.err,
        ),
        role=from_enum(pb.NodeRole, node.role),
        attachments=[
            m.NetworkAddresses(network_id=held.network.id, addresses=list(held.addresses)) for held in node.attachments
        ],
    )
