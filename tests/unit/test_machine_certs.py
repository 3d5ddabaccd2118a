"""Certificates of machines."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from shoal.machine import certs
from shoal.machine.errors import MachineError
from shoal.machine.probe import names_match

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def pair(folder: Path, name: str) -> certs.Pair:
    return certs.Pair(folder / f"{name}.pem", folder / f"{name}-key.pem")


@pytest.fixture
def authority(tmp_path: Path) -> certs.Pair:
    made = pair(tmp_path, "ca")
    assert certs.ensure_authority(made, NOW)
    return made


def test_the_authority_is_made_once(authority: certs.Pair) -> None:
    """An authority that is there is kept; its key is 0600; a key without its certificate is never overwritten."""
    before = authority.certificate.read_bytes()
    assert not certs.ensure_authority(authority, NOW)
    assert authority.certificate.read_bytes() == before
    assert stat.S_IMODE(authority.key.stat().st_mode) == 0o600
    authority.certificate.unlink()
    with pytest.raises(MachineError, match="already exists"):
        certs.ensure_authority(authority, NOW)


def test_identities_are_for_their_use(tmp_path: Path, authority: certs.Pair) -> None:
    """A client's certificate is for clients, a server's for servers with its names; both last 1080 days."""
    client, server = pair(tmp_path, "client"), pair(tmp_path, "server")
    assert certs.ensure_client(client, authority, NOW)
    certs.issue_server(server, authority, "m1", ["10.0.0.1", "m1"], NOW)
    uses = {}
    for name, made in (("client", client), ("server", server)):
        certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))
        uses[name] = [use._name for use in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]
        assert certificate.not_valid_after_utc == NOW + timedelta(days=1080)
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert uses == {"client": ["clientAuth"], "server": ["serverAuth"]}


def test_a_certificate_is_replaced_when_it_no_longer_fits(tmp_path: Path, authority: certs.Pair) -> None:
    """A new address, little time left, another authority, or a file that is damaged or gone: a new one is due."""
    server = pair(tmp_path, "server")
    names = certs.server_names("m1", "10.0.0.1", ["example.org"])
    assert names == ["example.org", "10.0.0.1", "m1", "localhost", "127.0.0.1"]
    assert not certs.is_fit(server, authority, names, NOW)
    certs.issue_server(server, authority, "m1", names, NOW)
    assert certs.is_fit(server, authority, names, NOW)
    assert not certs.is_fit(server, authority, certs.server_names("m1", "10.0.0.2"), NOW)
    assert not certs.is_fit(server, authority, names, NOW + timedelta(days=1080 - 30))
    other = pair(tmp_path, "other")
    certs.ensure_authority(other, NOW)
    assert not certs.is_fit(server, other, names, NOW)
    server.certificate.write_text("damaged")
    assert not certs.is_fit(server, authority, names, NOW)


def test_names_in_other_letters_and_addresses_with_a_zone(tmp_path: Path, authority: certs.Pair) -> None:
    """A name is written in IDNA's letters, an address without its zone; what is neither is refused by name."""
    server, names = pair(tmp_path, "server"), ["exämple.org", "*.exämple.org", "fe80::1%eth0"]
    certs.check_names(names)
    certs.issue_server(server, authority, "m1", names, NOW)
    assert certs.is_fit(server, authority, names, NOW)
    shown = x509.load_pem_x509_certificate(server.certificate.read_bytes())
    covered = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in covered] == ["xn--exmple-cua.org", "*.xn--exmple-cua.org", "fe80::1"]
    with pytest.raises(MachineError, match=r'no certificate can be valid for "ä\.\.org"'):
        certs.check_names(["example.org", "ä..org"])


def test_without_the_authoritys_key_nothing_is_signed(tmp_path: Path, authority: certs.Pair) -> None:
    """The missing file is named."""
    authority.key.unlink()
    with pytest.raises(MachineError, match=r"ca-key\.pem"):
        certs.issue_server(pair(tmp_path, "server"), authority, "m1", ["m1"], NOW)


@pytest.mark.parametrize(
    ("names", "fits"),
    [([("DNS", "M1")], True), ([("IP Address", "10.0.0.1")], True), ([("DNS", "m2"), ("IP Address", "10.0.0.2")], False),
     ([], False), ([("DNS", "localhost")], False)],
)  # fmt: skip
def test_a_machine_is_known_by_its_name_or_its_address(names: list[tuple[str, str]], fits: bool) -> None:
    """A certificate that names the machine is enough after its address changed; another machine's never is."""
    assert names_match({"subjectAltName": tuple(names)}, "m1", "10.0.0.1") is fits


def test_an_authority_is_renewed_with_its_key(tmp_path: Path, authority: certs.Pair) -> None:
    """Near its end the authority is made again with its old key: what it signed before is good under the new one."""
    server = pair(tmp_path, "server")
    certs.issue_server(server, authority, "m1", ["m1"], NOW)
    key, late = authority.key.read_bytes(), NOW + certs.VALIDITY - timedelta(days=59)
    assert not certs.ensure_authority(authority, late - timedelta(days=2))
    assert certs.ensure_authority(authority, late)
    assert authority.key.read_bytes() == key
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    assert issuer.not_valid_after_utc == late + certs.VALIDITY
    x509.load_pem_x509_certificate(server.certificate.read_bytes()).verify_directly_issued_by(issuer)


def test_a_client_identity_is_renewed_in_time_or_when_asked(tmp_path: Path, authority: certs.Pair) -> None:
    """The client's certificate is made again near its end, after its authority was replaced, and on request."""
    client = pair(tmp_path, "client")
    assert certs.ensure_client(client, authority, NOW)
    assert not certs.ensure_client(client, authority, NOW)
    assert certs.ensure_client(client, authority, NOW, fresh=True)
    assert certs.ensure_client(client, authority, NOW + certs.VALIDITY - timedelta(days=59))
    authority.certificate.unlink()
    authority.key.unlink()
    certs.ensure_authority(authority, NOW)
    assert certs.ensure_client(client, authority, NOW)


def test_docker_takes_a_certificate_that_names_the_address_and_lasts(tmp_path: Path, authority: certs.Pair) -> None:
    """What an engine shows must name the address that docker is pointed to, and must not be about to expire."""
    server = pair(tmp_path, "server")
    certs.issue_server(server, authority, "m1", certs.server_names("m1", "10.0.0.1"), NOW)
    shown = x509.load_pem_x509_certificate(server.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
    assert certs.is_same(server, shown)
    assert certs.serves(shown, "10.0.0.1", NOW)
    assert not certs.serves(shown, "10.0.0.2", NOW)
    assert not certs.serves(shown, "10.0.0.1", NOW + certs.VALIDITY - timedelta(days=59))


def test_a_replaced_authority_ends_what_the_old_one_signed(tmp_path: Path, authority: certs.Pair) -> None:
    """A new authority has a new key: certificates of the old one do not fit any more. Without the key it stays."""
    server = pair(tmp_path, "server")
    certs.issue_server(server, authority, "m1", ["m1"], NOW)
    certs.replace_authority(authority, NOW)
    assert not certs.is_fit(server, authority, ["m1"], NOW)
    authority.key.unlink()
    with pytest.raises(MachineError, match="key is missing"):
        certs.replace_authority(authority, NOW)


def test_an_authority_whose_key_is_anothers_signs_nothing(tmp_path: Path, authority: certs.Pair) -> None:
    """Key and certificate are two files: where they do not belong together that is said, and both can be made anew."""
    other, server = pair(tmp_path, "other"), pair(tmp_path, "server")
    certs.ensure_authority(other, NOW)
    authority.key.write_bytes(other.key.read_bytes())
    with pytest.raises(MachineError, match=r"do not belong together.*regenerate-certs --client-certs"):
        certs.ensure_authority(authority, NOW)
    with pytest.raises(MachineError, match="do not belong together"):
        certs.issue_server(server, authority, "m1", ["m1"], NOW)
    assert not server.certificate.exists()
    certs.replace_authority(authority, NOW)
    assert not certs.ensure_authority(authority, NOW)
    authority.key.write_text("damaged")
    with pytest.raises(MachineError, match="no key that can be read"):
        certs.ensure_authority(authority, NOW)


def test_a_server_certificate_without_its_own_key_does_not_fit(tmp_path: Path, authority: certs.Pair) -> None:
    """Ended between the two files of a new server identity: the next occasion makes both again."""
    server, other = pair(tmp_path, "server"), pair(tmp_path, "other")
    certs.issue_server(server, authority, "m1", ["m1"], NOW)
    certs.issue_server(other, authority, "m1", ["m1"], NOW)
    assert certs.is_fit(server, authority, ["m1"], NOW)
    server.key.write_bytes(other.key.read_bytes())
    assert not certs.is_fit(server, authority, ["m1"], NOW)
