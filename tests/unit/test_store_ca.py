"""What the swarm's certificate authority promises."""

from __future__ import annotations

import random
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from shoal.ca.files import CertificateFiles, KeyPair
from shoal.ca.identity import Identity, identity_of, peer_identity
from shoal.ca.issue import DEFAULT_EXPIRY, issue_node, issue_peer, new_csr
from shoal.ca.renewal import expired, renewal_moment, validity
from shoal.ca.root import check_digest, digest, new_root, tls_info
from shoal.ca.tls import MANAGER_NAME, client_context, server_context
from shoal.ca.tokens import make_token, new_tokens, parse_token, role_of
from shoal.model.errors import InvalidArgument, ShoalError

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = new_root(NOW)


def pair(role: str = "worker", node_id: str = "n1") -> KeyPair:
    key, csr = new_csr()
    pem = issue_node(ROOT, csr, node_id=node_id, role=role, cluster_id="c1", now=NOW, expiry=DEFAULT_EXPIRY)
    return KeyPair(pem, key)


def test_the_root_is_swarm_ca_for_twenty_years() -> None:
    """The root is an ECDSA P-256 authority named swarm-ca, valid for 20 years."""
    root = x509.load_pem_x509_certificate(ROOT.certificate)
    assert root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "swarm-ca"
    assert root.not_valid_after_utc - NOW == timedelta(days=7300)
    root.verify_directly_issued_by(root)
    assert tls_info(ROOT.certificate).trust_root == ROOT.certificate.decode()


@pytest.mark.parametrize("role", ["worker", "manager"])
def test_a_node_certificate_says_node_role_and_cluster(role: str) -> None:
    """CN is the node, OU the role, O the cluster; names are OU and CN, swarm-ca for managers; both usages; 1 h back."""
    certificate = x509.load_pem_x509_certificate(pair(role).certificate)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ROOT.certificate))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    wanted = [f"swarm-{role}", "n1"] + (["swarm-ca"] if role == "manager" else [])
    assert names.get_values_for_type(x509.DNSName) == wanted
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert certificate.not_valid_before_utc == NOW - timedelta(hours=1)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=90)
    assert identity_of(pair(role).certificate) == Identity("n1", role, "c1")


def test_a_csr_that_is_none_is_refused() -> None:
    """Rubbish instead of a CSR is InvalidArgument."""
    with pytest.raises(InvalidArgument):
        issue_node(ROOT, b"x", node_id="n", role="worker", cluster_id="c", now=NOW, expiry=DEFAULT_EXPIRY)


def test_etcd_certificates_carry_the_peers_name() -> None:
    """A peer certificate names swarm-manager and what peers dial, no address, and is no node's identity."""
    _, csr = new_csr()
    pem = issue_peer(ROOT, csr, node_id="n", cluster_id="c", now=NOW, expiry=DEFAULT_EXPIRY)
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["swarm-manager", "etcd-n"]
    assert names.get_values_for_type(x509.IPAddress) == []
    with pytest.raises(ValueError, match="not the certificate"):
        identity_of(pem)


def test_tokens_have_dockers_shape_and_grant_their_role() -> None:
    """A token parses to the root's digest, and grants exactly the role it was made for."""
    tokens = new_tokens(ROOT.certificate)
    head, version, first, second = tokens.worker.split("-")
    assert (head, version, len(first), len(second)) == ("SWMTKN", "1", 50, 25)
    assert parse_token(tokens.worker).digest == digest(ROOT.certificate)
    assert role_of(tokens.worker, tokens) == "worker"
    assert role_of(tokens.manager, tokens) == "manager"
    assert role_of(tokens.manager[:-1], tokens) is None
    assert role_of("", tokens) is None


@given(st.binary(min_size=1, max_size=40), st.integers(0, 36**25 - 1))
def test_what_is_made_can_be_parsed(bundle: bytes, number: int) -> None:
    """Every made token parses back to the same digest and secret."""
    from shoal.kit.ids import base36

    token = parse_token(make_token(bundle, base36(number, 25)))
    assert token.digest == digest(bundle)
    assert token.secret == base36(number, 25)


@pytest.mark.parametrize("text", ["", "x", "SWMTKN-1-a-b", "SWMTKN-2-" + "0" * 50 + "-" + "0" * 25,
                                  "SWMTKN-1-" + "z" * 50 + "-" + "0" * 25])  # fmt: skip
def test_malformed_tokens_get_dockers_words(text: str) -> None:
    """A malformed token is `invalid join token`, status 500."""
    with pytest.raises(ShoalError, match=r"^invalid join token$") as caught:
        parse_token(text)
    assert caught.value.status == 500


def test_another_root_does_not_match_the_fingerprint() -> None:
    """A downloaded root with another digest is refused in docker's words."""
    with pytest.raises(ShoalError, match="remote CA does not match fingerprint. Expected: " + "00" * 32):
        check_digest(ROOT.certificate, bytes(32))


@given(st.integers())
def test_renewal_is_between_half_and_four_fifths(seed: int) -> None:
    """The renewal moment lies between 50 % and 80 % of the validity."""
    pem = pair().certificate
    start, end = validity(pem)
    part = (renewal_moment(pem, random.Random(seed)) - start - timedelta(hours=1)) / (end - start - timedelta(hours=1))
    assert 0.5 <= part <= 0.8
    assert not expired(pem, NOW)
    assert expired(pem, end)


def test_files_are_private_and_come_back(tmp_path: Path) -> None:
    """The key is 0600 in a 0700 directory, and what is saved is loaded."""
    files = CertificateFiles(tmp_path / "certificates")
    assert files.load() is None
    one = pair()
    files.save(one)
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert files.directory.stat().st_mode & 0o777 == 0o700
    assert files.load() == one


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_interrupted_save_leaves_the_old_or_the_new_pair(tmp_path: Path, steps: int) -> None:
    """After a crash between any two steps of a save, a load gives a matching pair."""
    files = CertificateFiles(tmp_path)
    old, new = pair(), pair()
    files.save(old)
    (tmp_path / ".swarm-node.crt.next").write_bytes(new.certificate)
    if steps > 1:
        files.key.write_bytes(new.key)
    if steps > 2:
        (tmp_path / ".swarm-node.crt.next").replace(files.certificate)
    assert files.load() == (old if steps == 1 else new)
    assert files.load() == (old if steps == 1 else new)


def test_tls_checks_the_name_and_tells_who_is_there(tmp_path: Path) -> None:
    """A handshake between a worker and a manager yields the worker's identity; a worker is no swarm-manager."""
    sides = {role: CertificateFiles(tmp_path / role) for role in ("worker", "manager")}
    for role, files in sides.items():
        files.save(pair(role, f"id-{role}"))
        files.save_root(ROOT.certificate)
    server = _handshake(server_context(sides["manager"]), client_context(sides["worker"]))
    assert peer_identity(server.getpeercert()) == Identity("id-worker", "worker", "c1")
    assert server.selected_alpn_protocol() == "h2"
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(server_context(sides["worker"]), client_context(sides["worker"]))


def _handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> ssl.SSLObject:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(down, up, server_hostname=MANAGER_NAME)
    server = server_side.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return server
