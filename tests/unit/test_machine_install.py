"""Setting machines up over ssh: what is found out, decided, written, and carried out there. No machine is needed."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.machine import seed, ssh
from shoal.machine.driver import Context, EngineSetup, SshEndpoint, State
from shoal.machine.errors import MachineError
from shoal.machine.install import apply, bundle, facts, family, plan, units

SETUP = EngineSetup(
    {"/etc/shoal/tls/ca.pem": (0o644, b"CA"), "/etc/shoal/tls/server-key.pem": (0o600, b"KEY")},
    ["-H", "unix:///var/run/docker.sock", "-H", "tcp://0.0.0.0:2376", "--label", "a=b c"],
    {"HTTP_PROXY": "http://x y"},
)


def found(**values: Any) -> facts.Facts:
    """A Debian host that has everything, but for `values`."""
    everything = frozenset((*facts.PROGRAMS, *facts.LIBRARIES, "apt-get", "python3"))
    usual: dict[str, Any] = {"machine": "x86_64", "glibc": (2, 36), "os": {"ID": "debian"}, "has": everything,
                             "python": "/usr/bin/python3", "python_version": (3, 11, 2), "systemd": True}  # fmt: skip
    return facts.Facts(**{**usual, **values})


@pytest.mark.parametrize(
    ("os_release", "chosen"),
    [
        ("ID=debian\n", "debian"), ('ID="ubuntu"\nID_LIKE=debian', "debian"), ("ID=fedora", "fedora"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "fedora"), ("ID=kali\nID_LIKE=debian", "debian"),
        ('ID=other\nID_LIKE="nosuch fedora debian"', "fedora"), ("ID=arch", None), ("", None), ("ID=", None),
    ],
)  # fmt: skip
def test_families_are_known_by_id_then_by_what_they_are_like(os_release: str, chosen: str | None) -> None:
    """ID counts first, then ID_LIKE in its order; whoever is like none of ours has no family."""
    known = family.choose(facts.parse_os_release(os_release))
    assert (known.name if known else None) == chosen


def test_os_release_is_read_as_a_shell_would() -> None:
    """Comments, values with = in them, both quotes and lines that are none do not confuse the reader."""
    text = '# comment\nID=\'debian\'\nURL="https://x/?a=b"\nNAME="Debian \\"x\\""\nnonsense\nBROKEN="x\n'
    assert facts.parse_os_release(text) == {"ID": "debian", "URL": "https://x/?a=b", "NAME": 'Debian "x"'}


def test_the_survey_runs_here_and_is_understood() -> None:
    """The script of the survey is one that a plain sh runs, and its answer is read."""
    done = subprocess.run(["sh", "-c", facts.SURVEY], capture_output=True, text=True, check=True)
    here = facts.parse(done.stdout)
    assert (here.system, here.machine != "", here.python_version[:2] >= (3, 11)) == ("Linux", True, True)
    assert done.stderr == ""


def test_a_survey_names_what_is_there() -> None:
    """Programs, Pythons that are too old, services and listeners are told apart."""
    text = (
        "uid 1000\nsudo yes\nsystem Linux\nmachine aarch64\nlibc glibc 2.39\nos ID=debian\nhas crun\nhas apt-get\n"
        "python 3.10.4 /usr/bin/python3\npython 3.12.1 /usr/bin/python3.12\nsystemd yes\ncurrent 0.1.0-x\n"
        "shoald \ndocker /usr/bin/docker\nforeign /etc/systemd/system/shoald.service\nprocess dockerd 77\nlistens 0948\n"
    )
    here = facts.parse(text)
    assert (here.python, here.python_version, here.glibc) == ("/usr/bin/python3.12", (3, 12, 1), (2, 39))
    assert (here.installed, here.docker, here.listens) == ("0.1.0-x", "/usr/bin/docker", {2376})
    assert (here.processes, here.foreign_units) == ({"dockerd": 77}, ("/etc/systemd/system/shoald.service",))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"uid": 1000, "sudo": "password"}, "sudo asks for a password"),
        ({"uid": 1000, "sudo": "missing"}, "sudo is not installed"),
        ({"system": "FreeBSD"}, "runs FreeBSD"),
        ({"listens": frozenset({2376})}, "port 2376 of the machine is taken by another program"),
        ({"listens": frozenset({2376}), "processes": {"dockerd": 7}}, "taken by dockerd"),
        ({"processes": {"shoald": 8}}, "a shoald that shoal machine did not install runs"),
        ({"foreign_units": ("/etc/systemd/system/shoald.service",)}, "/etc/systemd/system/shoald.service"),
    ],
)
def test_what_is_in_the_way_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    """Nothing of somebody else's is replaced, and whoever cannot become root is told so."""
    with pytest.raises(MachineError, match=words):
        plan.check(found(**values), "debian", SETUP)


def test_what_is_ours_already_is_no_conflict() -> None:
    """A machine that was set up before has our engine on its port."""
    plan.check(found(ours=True, listens=frozenset({2376}), processes={"shoald": 8}), "root", SETUP)
    plan.check(found(uid=1000, sudo="yes"), "debian", SETUP)


def test_a_docker_engine_keeps_its_socket() -> None:
    """Where a Docker Engine is, ours gets a socket of its own, the `docker` command stays, and that is said."""
    made = plan.make(found(processes={"dockerd": 7}, docker="/usr/bin/docker"), SETUP, "b1")
    arguments = base64.b64decode(made.order["files"][units.ARGUMENTS][1]).decode().splitlines()
    assert arguments[:4] == ["-H", "unix:///run/shoal/docker.sock", "-H", "tcp://0.0.0.0:2376"]
    assert "docker" not in made.order["links"]
    assert "left as it is" in made.notes[0]


def test_each_kind_of_machine_gets_what_starts_the_engine() -> None:
    """systemd gets a unit, others an init script, guests of our image only their files."""
    assert units.SYSTEMD_UNIT in plan.make(found(), SETUP, "b1").order["files"]
    assert units.INIT_SCRIPT in plan.make(found(systemd=False), SETUP, "b1").order["files"]
    image = plan.make(found(os={"ID": "shoal"}), SETUP, "").order
    assert (image["service"], sorted(image["files"])) == (
        "image",
        ["/etc/shoal/shoald.args", "/etc/shoal/shoald.env", "/etc/shoal/tls/ca.pem", "/etc/shoal/tls/server-key.pem"],
    )
    with pytest.raises(MachineError, match="there is no shoald on the machine"):
        plan.make(found(), SETUP, "")
    own = plan.make(found(shoald="/usr/bin/shoald"), SETUP, "").order["files"][units.LAUNCHER]
    assert b"exec /usr/bin/shoald" in base64.b64decode(own[1])


def test_the_unit_lets_containers_outlive_the_daemon() -> None:
    """systemd must end nothing but shoald, wait for its word, and start it again."""
    settings = dict(line.split("=", 1) for line in units.UNIT.splitlines() if "=" in line)
    assert settings["KillMode"] == "process"
    assert (settings["Type"], settings["Restart"], settings["Delegate"]) == ("notify", "always", "yes")
    assert settings["ExecStart"] == units.LAUNCHER
    for script in (units.SCRIPT, units.DOWN):
        assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


words_of_flags = st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1))


@settings(max_examples=25)
@given(words_of_flags, st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text(
    st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])), max_size=3))  # fmt: skip
def test_the_launcher_hands_on_every_flag_and_variable_as_it_is(
    arguments: list[str], environment: dict[str, str]
) -> None:
    """Whatever quotes, blanks, dollars or backslashes there are, the engine gets just these words."""
    import tempfile

    environment = {f"T_{name}": value for name, value in environment.items()}
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder, "engine")
        engine.write_text('#!/bin/sh\nfor word in "$@"; do printf \'%s\\0\' "$word"; done\nexec env -0\n')
        engine.chmod(0o755)
        script = units.launcher(str(engine)).replace("/etc/shoal", folder)
        Path(folder, "shoald.args").write_text(units.lines(arguments), newline="")
        Path(folder, "shoald.env").write_text(units.environment_lines(environment), newline="")
        done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    answers = done.stdout.decode().split("\0")
    assert answers[: len(arguments)] == arguments
    assert {f"{name}={value}" for name, value in environment.items()} <= set(answers[len(arguments) :])


@pytest.mark.parametrize("bad", [{"A B": "x"}, {"1A": "x"}, {"A": "x\ny"}])
def test_what_a_line_cannot_hold_is_refused(bad: dict[str, str]) -> None:
    """A line break in a value, or a name that is none, would become another setting."""
    with pytest.raises(MachineError):
        units.environment_lines(bad)
    with pytest.raises(MachineError):
        units.lines(["a\nb"])


def test_a_machine_that_began_with_a_seed_has_its_settings_already() -> None:
    """The seed and `provision` put the same two files there: otherwise the first provision restarted the engine."""
    there = seed.engine_files(SETUP)
    order = plan.make(found(os={"ID": "shoal"}), SETUP, "").order
    assert plan.encoded(there) == order["files"]


def test_a_virtual_machine_of_hyper_v_gets_the_bundle_of_its_own_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--storage-path: bundles are kept in that store, not in the default one."""
    from shoal.machine.hyperv.driver import HypervDriver

    given: dict[str, Any] = {}
    driver: Any = HypervDriver(Context("m1", tmp_path / "machines/m1", tmp_path, print), {"VMId": "1"})
    for name, answer in (
        ("_has_address", True),
        ("state", State.RUNNING),
        ("address", "10.0.0.1"),
        ("ssh", "endpoint"),
    ):
        monkeypatch.setattr(driver, name, lambda answer=answer: answer)
    monkeypatch.setattr(ssh, "wait_for_banner", lambda endpoint, timeout: None)
    monkeypatch.setattr("shoal.machine.install.over_ssh", lambda *arguments, **more: given.update(more, all=arguments))
    driver._set_up(lambda address: f"setup for {address}")
    assert given["cache"] == tmp_path / "cache"
    assert given["all"][:2] == ("endpoint", "setup for 10.0.0.1")


def test_installers_ask_for_the_familys_packages() -> None:
    """Each family installs what brings a need; an old Python gets a newer one beside it."""
    script = family.DEBIAN.installer(["crun", "libnftables.so.1"], found())
    assert "install -y --no-install-recommends crun libnftables1" in script
    script = family.FEDORA.installer(["crun", "libnftables.so.1", family.PYTHON], found())
    assert "crun nftables python3" in script
    assert "python$version" in script
    assert family.missing(found(has=frozenset(), python="")) == [*facts.PROGRAMS, *facts.LIBRARIES, family.PYTHON]
    assert family.required(["etcd", "crun"]) == ["crun"]


def order_of(setup: EngineSetup, archive: bytes = b"") -> tuple[dict[str, Any], io.BytesIO]:
    made = plan.make(found(), setup, "b1").order
    return {**made, "service": ""}, io.BytesIO(archive)


def packed(**files: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{name}.py")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return target.getvalue()


def test_an_order_is_carried_out_once(tmp_path: Path) -> None:
    """The bundle becomes an environment of the machine's Python, secrets are 0600, and a second time changes nothing."""
    root = str(tmp_path)
    first = apply.carry_out(*order_of(SETUP, packed(shoal="x = 1")), root)
    assert "/opt/shoal/current" in first["changed"]
    assert (tmp_path / "etc/shoal/tls/server-key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "opt/shoal/current/lib/python3.11/site-packages/shoal.py").read_text() == "x = 1"
    assert (tmp_path / "etc/shoal/.restart-due").exists()
    (tmp_path / "etc/shoal/.restart-due").unlink()
    assert apply.carry_out(*order_of(SETUP), root) == {"changed": [], "restarted": False}


def test_certificates_ask_for_no_restart_and_options_do(tmp_path: Path) -> None:
    """shoald reads certificates again by itself; flags only when it starts, and a restart that is due is not forgotten."""
    root, due = str(tmp_path), tmp_path / "etc/shoal/.restart-due"
    apply.carry_out(*order_of(SETUP, packed(shoal="")), root)
    due.unlink()
    renewed = SETUP._replace(files={"/etc/shoal/tls/ca.pem": (0o644, b"NEW")})
    assert apply.carry_out(*order_of(renewed), root)["changed"] == ["/etc/shoal/tls/ca.pem"]
    assert not due.exists()
    apply.carry_out(*order_of(SETUP._replace(arguments=["--debug"])), root)
    assert due.exists()


def test_programs_of_others_stay(tmp_path: Path) -> None:
    """A `shoal` or `docker` that is there already is somebody else's."""
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/docker").write_text("theirs")
    apply.carry_out(*order_of(SETUP, packed(shoal="")), str(tmp_path))
    assert (tmp_path / "usr/local/bin/docker").read_text() == "theirs"
    assert (tmp_path / "usr/local/bin/shoald").is_symlink()


def test_an_upgrade_keeps_the_bundle_before_and_no_older_one(tmp_path: Path) -> None:
    """The running engine may still load from the bundle that it began with."""
    for name in ("b1", "b2", "b3"):
        order, stream = order_of(SETUP, packed(shoal=name))
        apply.carry_out({**order, "bundle": name}, stream, str(tmp_path))
    assert sorted(path.name for path in (tmp_path / "opt/shoal").iterdir()) == ["b2", "b3", "current"]


def test_the_bundle_holds_all_that_shoald_needs(tmp_path: Path) -> None:
    """Made from what is installed here, without a network: Shoal starts from it alone. It is made once, in the cache."""
    import platform
    import sys

    version = (sys.version_info[0], sys.version_info[1])
    target = bundle.Target(version, platform.machine(), (2, 99))
    name, data = bundle.get(tmp_path, target)
    assert bundle.get(tmp_path, target) == (name, data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert not [member for member in archive.getnames() if "__pycache__" in member]
        archive.extractall(tmp_path / "site")
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import shoal.daemon, shoal.api.server, uvloop; print(shoal.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program, str(tmp_path / "site")], capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.startswith(str(tmp_path / "site"))


@pytest.mark.parametrize(
    ("tags", "theirs", "usable"),
    [
        (["py3-none-any"], None, True), (["cp311-cp311-manylinux_2_17_x86_64"], (2, 17), True),
        (["cp311-cp311-manylinux_2_34_x86_64"], (2, 31), False), (["cp311-cp311-linux_x86_64"], (2, 36), True),
        (["cp311-cp311-linux_x86_64"], (2, 31), False), (["cp311-cp311-manylinux2014_x86_64"], None, False),
    ],
)  # fmt: skip
def test_wheels_are_for_a_c_library(tags: list[str], theirs: tuple[int, int] | None, usable: bool) -> None:
    """What was compiled for a newer C library than the machine's is not carried there."""
    text = "".join(f"Tag: {tag}\n" for tag in tags)
    assert bundle._usable(text, (2, 36), theirs) is usable


def endpoint(tmp_path: Path, **values: Any) -> SshEndpoint:
    return SshEndpoint("10.0.0.1", 22, "root", None, tmp_path / "known_hosts", "m1")._replace(**values)


def test_the_first_contact_pins_the_key_and_later_ones_must_match(tmp_path: Path) -> None:
    """Until a key is known for the machine's name any is taken and written down; from then on no other is."""
    here = endpoint(tmp_path)
    assert ssh.options(here)["StrictHostKeyChecking"] == "accept-new"
    (tmp_path / "known_hosts").write_text("other ssh-ed25519 AAAA\n")
    assert ssh.options(here)["StrictHostKeyChecking"] == "accept-new"
    (tmp_path / "known_hosts").write_text("m1,10.0.0.1 ssh-ed25519 AAAA\n")
    assert ssh.options(here)["StrictHostKeyChecking"] == "yes"


def test_only_other_users_go_through_sudo(tmp_path: Path) -> None:
    """Root needs no sudo; others use it without ever being asked. The script is one word, whatever is in it."""
    import shlex

    script = "echo 'a b' \"$x\" `y`"
    assert shlex.split(ssh.as_root(endpoint(tmp_path), script)) == ["sh", "-c", script]
    assert shlex.split(ssh.as_root(endpoint(tmp_path, user="u"), script)) == ["sudo", "-n", "--", "sh", "-c", script]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("@@@\nWARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.", "another machine answers"),
        ("No ED25519 host key is known\nHost key verification failed.", "is not the one pinned"),
        ("root@x: Permission denied (publickey).", "does not accept our key"),
        ("ssh: connect to host x port 22: Connection refused", "Connection refused"), ("", "the connection was lost"),
    ],
)  # fmt: skip
def test_sshs_complaints_become_sentences(tmp_path: Path, said: str, sentence: str) -> None:
    """Each reason why ssh fails is told from the others."""
    assert sentence in ssh.explain(endpoint(tmp_path), said)
