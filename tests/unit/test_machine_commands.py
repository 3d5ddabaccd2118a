"""docker-machine's command line: every subcommand and flag it had is known, and what is typed does what it did."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.cli import machine as cli
from shoal.cli.flags import Options, declare, parse
from shoal.cli.machine_create import chosen_driver, declared, default_driver, value
from shoal.cli.machine_parents import ancestors, parse_ps
from shoal.cli.machine_several import Lines, run
from shoal.machine import mounts
from shoal.machine.driver import Flag, SshEndpoint, State, driver_class, register
from shoal.machine.errors import MachineError
from shoal.machine.record import Record
from shoal.machine.store import Store
from tests.machine_cli import alone, say
from tests.machine_fake import FakeDriver
from tests.waiting import until_sync

GLOBAL = [
    "-D",
    "--debug",
    "-s",
    "--storage-path=",
    "--tls-ca-cert=",
    "--tls-ca-key=",
    "--tls-client-cert=",
    "--tls-client-key=",
    "--github-api-token=",
    "--native-ssh",
    "--bugsnag-api-token=",
    "-h",
    "--help",
    "-v",
    "--version",
]
FLAGS = {
    "active": "-t= --timeout=", "config": "--swarm", "env": "--swarm --shell= -u --unset --no-proxy",
    "create": """-d= --driver= --engine-install-url= --engine-opt= --engine-insecure-registry= --engine-registry-mirror=
        --engine-label= --engine-storage-driver= --engine-env= --tls-san= --swarm --swarm-master --swarm-image=
        --swarm-discovery= --swarm-strategy= --swarm-opt= --swarm-join-opt= --swarm-host= --swarm-addr=
        --swarm-experimental""",
    "inspect": "-f= --format=", "ip": "", "kill": "", "ls": "-q --quiet --filter= -t= --timeout= -f= --format=",
    "mount": "-u --unmount", "provision": "", "regenerate-certs": "-f --force --client-certs", "restart": "",
    "rm": "-f --force -y", "scp": "-r --recursive -d --delta -q --quiet", "start": "", "status": "", "stop": "",
    "upgrade": "", "url": "", "version": "",
}  # fmt: skip
"""docker-machine's flags; those with a `=` take a value. ssh's are ssh's own."""
ORDER = [
    "active",
    "config",
    "create",
    "env",
    "inspect",
    "ip",
    "kill",
    "ls",
    "provision",
    "regenerate-certs",
    "restart",
    "rm",
    "ssh",
    "scp",
    "mount",
    "start",
    "status",
    "stop",
    "upgrade",
    "url",
    "version",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own, and an environment that says nothing else about machines."""
    with alone(tmp_path, monkeypatch) as store:
        yield store


# --- what there is -----------------------------------------------------------------------------------------------------


def test_the_commands_are_docker_machines_in_its_order(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists every command that docker-machine had, in its order, before ours."""
    listed = [line.split()[0] for line in say(capsys).partition("Commands:\n")[2].splitlines() if line.startswith("  ")]
    assert listed[: len(ORDER)] == ORDER
    assert set(FLAGS) | {"ssh"} == set(ORDER)


@pytest.mark.parametrize(
    ("command", "flag"), [(command, flag) for command, flags in FLAGS.items() for flag in flags.split()]
)
def test_every_flag_is_known(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag of docker-machine is taken, with one dash too, and is in the command's help."""
    name, equals, _ = flag.partition("=")
    dashed = [name] if len(name) == 2 else [name, name[1:]]
    for spelled in dashed:
        words = [command, spelled, *(["fake" if "d" in spelled[:3] else "1"] if equals else []), "--help"]
        text = say(capsys, *words)
        assert text.startswith(f"Usage: docker-machine {command} [OPTIONS]")
        assert f"{name}{' ' if equals and len(name) > 2 else ''}" in text


@pytest.mark.parametrize("flag", GLOBAL)
def test_every_global_flag_is_known(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each global flag is taken before the command, and is in the help."""
    name, equals, _ = flag.partition("=")
    assert name in say(capsys)
    for spelled in {name, name if len(name) == 2 else name[1:]}:
        say(capsys, spelled, *(["1"] if equals else []), "help")


@pytest.mark.parametrize("command", [*FLAGS, "ssh", "export", "import", "completion", "image"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`COMMAND --help`, `COMMAND -h`, `help COMMAND` and `h COMMAND` print the same; without flags there is no [OPTIONS]."""
    texts = {say(capsys, *words) for words in ([command, "--help"], [command, "-h"], ["help", command], ["h", command])}
    assert len(texts) == 1
    first = texts.pop().splitlines()[0]
    assert ("[OPTIONS]" in first) is (
        command not in ("image", "ip", "kill", "restart", "ssh", "status", "stop", "upgrade", "url", "version")
    )


def test_help_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """`help`, `h`, `help help` and no words at all print the list; help for what is no command fails."""
    assert len({say(capsys, *words) for words in ((), ("help",), ("h",), ("help", "help"), ("--help",))}) == 1
    assert "'nosuch' is not a docker-machine command" in say(capsys, "help", "nosuch", code=1)


@pytest.mark.parametrize(
    ("platform", "root", "driver"),
    [("linux", True, "local"), ("linux", False, "qemu"), ("darwin", False, "virtualbox"), ("win32", False, "virtualbox")],
)  # fmt: skip
def test_the_default_driver(platform: str, root: bool, driver: str) -> None:
    """Without --driver: namespaces as root on Linux, virtual machines of QEMU otherwise there, VirtualBox elsewhere."""
    assert default_driver(platform, root=root) == driver


DRIVER_FLAG = '  -d, --driver string   x (default "local")\n      --engine-opt list   x'


@pytest.mark.parametrize(
    ("words", "driver"),
    [(["-d", "X", "n"], "X"), (["-d=X"], "X"), (["--driver", "X"], "X"), (["--driver=X"], "X"), (["-driver", "X"], "X"),
     (["-driver=X"], "X"), (["-dX"], "X"), (["n", "-d", "X"], "X"), ([], "E"), (["--", "-d", "X"], "E"),
     (["--engine-opt", "-d", "X"], "E")],
)  # fmt: skip
def test_the_driver_is_found_before_its_flags(words: list[str], driver: str) -> None:
    """However the driver is given it is known before its own flags are parsed; MACHINE_DRIVER comes second."""
    assert chosen_driver(words, DRIVER_FLAG, {"MACHINE_DRIVER": "E"}) == driver
    assert chosen_driver([], DRIVER_FLAG, {}) == "local"


def test_a_drivers_flags_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`create --help` shows the chosen driver's flags with their variables and defaults, and no other driver's."""
    text = say(capsys, "create", "-d", "local", "--help")
    assert "[$MACHINE_LOCAL_SUBNET]" in text
    assert "--fake-fail" not in text
    text = say(capsys, "create", "-driver", "fake", "--help")
    assert "--fake-fail" in text
    assert "--local-subnet" not in text


def test_a_driver_of_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What another package registers under our entry point group is a driver like ours."""
    (tmp_path / "elsewhere-1.dist-info").mkdir()
    (tmp_path / "elsewhere-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (tmp_path / "elsewhere-1.dist-info/entry_points.txt").write_text(
        "[shoal.machine_drivers]\nelsewhere = elsewhere:Elsewhere\n"
    )
    (tmp_path / "elsewhere.py").write_text(
        "from tests.machine_fake import FakeDriver\nfrom shoal.machine.driver import Flag\n\nclass Elsewhere(FakeDriver):\n"
        "    @staticmethod\n    def flags():\n        return (Flag('elsewhere-size', 'Size', 'ELSEWHERE_SIZE', 'small'),)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "--elsewhere-size string" in say(capsys, "create", "-d", "elsewhere", "--help")
    say(capsys, "create", "-d", "elsewhere", "m")
    assert say(capsys, "ls", "-f", "{{.DriverName}} {{.State}}") == "elsewhere Running\n"


SAMPLES = (Flag("x-text", "t", "X_TEXT", "d"), Flag("x-number", "n", "X_NUMBER", 7), Flag("x-list", "l", "X_LIST", ()),
           Flag("x-yes", "y", "X_YES", True), Flag("x-no", "o", "X_NO", False), Flag("x-none", "v", ""))  # fmt: skip


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [([], {}, ["d", 7, (), True, False, ""]),
     (["--x-text=a", "--x-number", "0x10", "--x-list", "a,b", "--x-list=c", "--x-yes=false", "--x-no"], {},
      ["a", 16, ("a,b", "c"), False, True, ""]),
     ([], {"X_TEXT": "e", "X_NUMBER": "0x20", "X_LIST": "a, b", "X_YES": "0", "X_NO": "T"},
      ["e", 32, ("a", "b"), False, True, ""]),
     (["--x-text=a", "--x-list=c"], {"X_TEXT": "e", "X_LIST": "b", "X_NUMBER": ""}, ["a", 7, ("c",), True, False, ""])],
)  # fmt: skip
def test_a_drivers_values(words: list[str], environment: dict[str, str], expected: list[Any]) -> None:
    """The command line wins over the environment, which wins over the default; lists there have commas."""
    given: Options = parse(declare(declared(SAMPLES)), words)
    assert [value(given, flag, environment) for flag in SAMPLES] == expected


def test_a_variable_that_is_no_number() -> None:
    """A number's variable that holds none is named."""
    with pytest.raises(MachineError, match=r'invalid value "x" of \$X_NUMBER'):
        value(parse(declare(declared(SAMPLES)), []), SAMPLES[1], {"X_NUMBER": "x"})


# --- messages and statuses ---------------------------------------------------------------------------------------------

SWARM_FLAGS = ["--swarm", "--swarm-master", "--swarm-image=x", "--swarm-strategy=x", "--swarm-opt=x", "--swarm-join-opt=x",
               "--swarm-host=x", "--swarm-addr=x", "--swarm-experimental", "--swarm-discovery=token://x"]  # fmt: skip


@pytest.mark.parametrize("flag", SWARM_FLAGS)
def test_classic_swarm_is_taken_with_a_warning(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags of classic Swarm are taken, and said to have no effect."""
    text = say(capsys, "create", "-d", "fake", "--fake-fail", "check", flag, "m", code=3)
    assert f"Warning: {flag.partition('=')[0]}: classic Swarm is gone" in text


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [(["create", "-d", "fake", "--swarm-discovery", "x", "m"], 1, "Swarm Discovery URL was in the wrong format: x"),
     (["create", "-d", "fake", "--engine-storage-driver=aufs", "--fake-fail=check", "m"], 3, "no engine has it any more"),
     (["create", "-d", "fake", "--engine-install-url=http://x", "--fake-fail=check", "m"], 3, "machines get Shoal"),
     (["create", "-d", "fake", "--fake-fail=check", "m"], 3, 'Error with pre-create check: "not here"'),
     (["create", "-d", "fake", "--fake-fail=configure", "m"], 1, "Error setting machine configuration from flags provided"),
     (["create", "-d", "nosuch", "m"], 1, 'Driver "nosuch" not found. Do you have the plugin binary'),
     (["create", "-d", "fake", "--nosuch", "m"], 2, "unknown flag: --nosuch"),
     (["stop", "a", "b"], 1, 'Docker machine "a" does not exist'), (["kill"], 1, 'no "default" machine exists'),
     (["start", "a"], 1, 'Use "docker-machine create" to add a new one.'), (["url", "a", "b"], 1, "Expected one machine name"),
     (["inspect", "a", "b"], 1, "Expected one machine name"), (["status", "a", "b"], 1, "Expected one machine name"),
     (["version", "a", "b"], 1, "Expected one machine name"), (["mount"], 2, "Improper number of arguments"),
     (["mount", "a", "b", "c"], 2, "Improper number of arguments"), (["mount", "x"], 1, 'no "default" machine exists'),
     (["mount", "nosuch:x"], 1, 'Docker machine "nosuch" does not exist'), (["scp", "a", "b", "c"], 2, "Improper number"),
     (["scp", "nosuch:x", "."], 1, 'Docker machine "nosuch" does not exist'), (["ls", "-t", "x"], 2, "invalid argument"),
     (["ls", "--filter", "a=b"], 1, "Unsupported filter key 'a'"), (["nosuch"], 1, "See 'docker-machine --help'"),
     (["export", "nosuch"], 1, "does not exist"), (["import"], 2, "Expected one file")],
)  # fmt: skip
def test_messages(words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What goes wrong is told in docker-machine's words, with 1, with 2 for wrong use, with 3 before anything was made."""
    assert text in say(capsys, *words, code=code)


def test_debug_from_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """MACHINE_DEBUG is Go's kind of boolean, and anything else is an error; with it failures come with where from."""
    monkeypatch.setenv("MACHINE_DEBUG", "perhaps")
    assert "Error parsing boolean value from MACHINE_DEBUG" in say(capsys, "ls", code=1)
    monkeypatch.setenv("MACHINE_DEBUG", "T")
    assert "Traceback" in say(capsys, "status", code=1)


def test_the_hint_is_what_was_typed(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The command in env's hint has the global options too, quoted where they must be."""
    text = say(capsys, "-s", f"{here.root} x", "env", "--shell", "sh", "-u")
    assert f'# eval $(docker-machine -s "{here.root} x" env --shell sh -u)' in text


def test_env_takes_back_what_it_set(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`env -u` needs no machine; with --no-proxy the list that is in use goes too."""
    monkeypatch.setenv("no_proxy", "a")
    text = say(capsys, "env", "-u", "--no-proxy", "--shell", "cmd")
    assert [line.rstrip("=").split()[1] for line in text.splitlines()[:5]] == [
        "DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME", "no_proxy",
    ]  # fmt: skip


def test_a_machines_life(here: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """create, ls, env, config, stop, start, restart, kill and rm of one machine, with docker-machine's words."""
    text = say(capsys, "create", "-d", "fake", "--engine-label", "a=b", "--tls-san", "x.test", "default")
    assert text.splitlines()[-1].endswith("run: docker-machine env default")
    url = say(capsys, "url").strip()
    assert say(capsys, "status") == "Running\n"
    lines = say(capsys, "config", "default", "ignored").splitlines()
    assert lines == ["--tlsverify", f"--tlscacert={here.root}/machines/default/ca.pem", f"--tlscert={here.root}/machines/default/cert.pem",
                     f"--tlskey={here.root}/machines/default/key.pem", f"-H={url}"]  # fmt: skip
    text = say(capsys, "env", "--no-proxy", "--shell", "bash")
    assert text.splitlines()[:5] == [
        'export DOCKER_TLS_VERIFY="1"', f'export DOCKER_HOST="{url}"', f'export DOCKER_CERT_PATH="{here.root}/machines/default"',
        'export DOCKER_MACHINE_NAME="default"', 'export NO_PROXY="127.0.0.1"',
    ]  # fmt: skip
    assert "is not a swarm master" in say(capsys, "env", "--swarm", code=1)
    monkeypatch.setenv("DOCKER_HOST", url)
    assert say(capsys, "active") == "default\n"
    assert (
        say(capsys, "ls", "-f", "{{.Name}} {{.Active}} {{.ActiveHost}} {{.ActiveSwarm}} {{.State}}")
        == "default * true false Running\n"
    )
    assert say(capsys, "ls", "-f", "table {{.Name}}\\t{{.URL}}").splitlines()[0].split() == ["NAME", "URL"]
    assert say(capsys, "inspect", "-f", "{{.HostOptions.EngineOptions.Labels}} {{.Nosuch}}") == "[a=b] <no value>\n"
    assert json.loads(say(capsys, "inspect"))["Name"] == "default"
    assert json.loads(say(capsys, "inspect", "-f", "{{json .Driver}}"))["Fail"] == ""
    assert "\n    " in say(capsys, "inspect", "-f", "{{prettyjson .Driver}}")
    assert "template parsing error" in say(capsys, "inspect", "-f", "{{", code=1)
    assert say(capsys, "stop") == 'Stopping "default"...\nMachine "default" was stopped.\n'
    assert say(capsys, "status") == "Stopped\n"
    assert say(capsys, "ip", code=1) == "Error getting IP address: Host is not running\n"
    assert "Host is not running" in say(capsys, "env", code=1)
    assert 'Cannot run SSH command: Host "default" is not running' in say(capsys, "ssh", "default", "ls", code=1)
    assert say(capsys, "start").splitlines()[-1] == (
        "Started machines may have new IP addresses. You may need to re-run the `docker-machine env` command."
    )
    assert say(capsys, "restart").splitlines()[-1].startswith("Restarted machines may have new IP addresses.")
    assert say(capsys, "kill") == 'Killing "default"...\nMachine "default" was killed.\n'
    text = say(capsys, "rm", "-y", "default")
    assert text.splitlines() == ["About to remove default", "WARNING: This action will delete both local reference and remote instance.",
                                 "Successfully removed default"]  # fmt: skip
    assert say(capsys, "ls", "-q") == ""


# --- several at once ---------------------------------------------------------------------------------------------------


def test_several_are_made_and_removed_side_by_side(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """create, stop, ip and rm take several names; every line says whose it is; addresses come in the order asked."""
    text = say(capsys, "create", "-d", "fake", "c", "a", "b")
    assert text.count("Docker is up and running!") == 3
    assert [line.split()[-1] for line in text.splitlines()[-3:]] == ["c", "a", "b"]
    assert all(line.startswith(("(a) ", "(b) ", "(c) ")) or line[-1] in "abc" for line in text.splitlines())
    assert here.names() == ["a", "b", "c"]
    assert say(capsys, "ip", "c", "a").split() == ["127.0.0.1", "127.0.0.1"]
    text = say(capsys, "stop", "a", "b")
    assert sorted(text.splitlines()) == [
        'Machine "a" was stopped.',
        'Machine "b" was stopped.',
        'Stopping "a"...',
        'Stopping "b"...',
    ]
    text = say(capsys, "ip", "b", "c", "a", code=1)
    assert text.splitlines() == ["127.0.0.1", "(b) Error getting IP address: Host is not running",
                                 "(a) Error getting IP address: Host is not running"]  # fmt: skip
    assert say(capsys, "start", "a", "b").count("Started machines may have new IP") == 1
    say(capsys, "rm", "-f", "a", "b", "c")
    assert here.names() == []


def test_one_failure_does_not_stop_the_others(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """When one of several cannot be made the others are; the failure is named, and the exit status is 1."""
    say(capsys, "create", "-d", "fake", "b")
    text = say(capsys, "create", "-d", "fake", "a", "b", "a_b", "c", code=1)
    assert here.names() == ["a", "b", "c"]
    assert text.splitlines()[-2:] == [
        'Docker machine "b" already exists',
        "(a_b) Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -",
    ]
    assert "does not exist" in say(capsys, "stop", "a", "nosuch", code=1)
    assert say(capsys, "status", "a") == "Running\n", "one unknown name prevents the action for all, as it did"


@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw_is_a_sentence(
    debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in a driver is told in a line, without a traceback unless --debug asks for it, and the exit status is 1."""
    monkeypatch.setenv("MACHINE_DEBUG", str(int(debug)))

    def broken(driver: FakeDriver) -> None:
        raise KeyError(driver.context.name)

    say(capsys, "create", "-d", "fake", "a", "b")
    monkeypatch.setattr(FakeDriver, "stop", broken)
    for names in (["a"], ["a", "b"]):
        lines = say(capsys, "stop", *names, code=1).splitlines()
        told = [f"unexpected KeyError: '{name}' (--debug shows where it happened)" for name in names]
        assert [line.partition(") ")[2] if len(names) > 1 else line for line in lines if "--debug" in line] == told
        assert ("Traceback (most recent call last):" in lines) is debug


def test_one_fault_does_not_take_the_others_hints(
    here: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several machines one fails as nobody foresaw, another as its driver says: the third's hint is printed."""
    check = FakeDriver.check

    def checked(driver: FakeDriver) -> None:
        if driver.context.name == "a":
            raise ValueError("odd")
        if driver.context.name == "b":
            raise MachineError("b fails")
        check(driver)

    monkeypatch.setattr(FakeDriver, "check", checked)
    text = say(capsys, "create", "-d", "fake", "a", "b", "c", code=1)
    assert "docker-machine env c" in text
    assert "(a) unexpected ValueError: odd" in text
    assert "(b) b fails" in text
    assert here.names() == ["c"]


def test_each_machine_has_its_line_on_a_terminal() -> None:
    """On a terminal every machine has one line, in the order asked, which is rewritten in place."""
    out = io.StringIO()
    lines = Lines(["b", "a"], out, terminal=True)
    lines.say("b", "(b) Creating SSH key...")
    lines.say("a", 'Machine "a" was started.')
    assert out.getvalue() == (
        'b: ...\na: ...\n\x1b[2A\x1b[2K\rb: Creating SSH key...\x1b[2B\r\x1b[1A\x1b[2K\ra: Machine "a" was started.\x1b[1B\r'
    )


@pytest.mark.parametrize(
    ("line", "shown"),
    [("Creating machine...", "(a) Creating machine..."), ("(a) Creating SSH key...", "(a) Creating SSH key..."),
     ('Stopping "a"...', 'Stopping "a"...'), ("Successfully removed a", "Successfully removed a")],
)  # fmt: skip
def test_each_line_says_whose_it_is(line: str, shown: str) -> None:
    """Elsewhere every line has the machine's name, once."""
    out = io.StringIO()
    Lines(["a", "b"], out, terminal=False).say("a", line)
    assert out.getvalue() == shown + "\n"


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_as_many_as_allowed_are_worked_on(at_once: int) -> None:
    """No more than so many are worked on at a time, all are, and failures come in the order of the names."""
    names, lock, now, most = [str(number) for number in range(20)], threading.Lock(), [0], [0]

    def act(name: str, say: Any) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        say("x")
        with lock:
            now[0] -= 1
        if int(name) % 2:
            raise MachineError(name)

    faults = run(names, act, Lines(names, io.StringIO(), terminal=False), at_once)
    assert list(faults) == names[1::2]
    assert 1 <= most[0] <= at_once


PEOPLE = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from shoal.cli.machine import main
from shoal.machine.driver import register
from tests.machine_fake import FakeDriver

class Slow(FakeDriver):
    def create(self, prepare):
        super().create(prepare)
        (self.context.directory / "made").touch()
        print("made", flush=True)
        while not {go!r} or not os.path.exists({go!r}):
            threading.Event().wait(0.02)

    def remove(self):
        super().remove()
        print("removed", self.context.name, flush=True)

register("slow", Slow)
sys.exit(main(sys.argv[1:], "docker-machine"))
"""


def program(folder: Path, go: Path | None = None) -> list[str]:
    """A docker-machine with a driver whose machines are not ready before the file `go` is there."""
    script = folder / "people.py"
    script.write_text(PEOPLE.format(root=str(Path(__file__).parents[2]), go=str(go or "")))
    return [sys.executable, str(script)]


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_create_takes_everything_back(
    names: list[str], number: signal.Signals, here: Store, tmp_path: Path
) -> None:
    """Ctrl-C, SIGTERM and the terminal's going, while one or several machines are made, leave none of them."""
    with subprocess.Popen(
        [*program(tmp_path), "create", "-d", "slow", *names], stdout=subprocess.PIPE, text=True
    ) as creation:
        assert creation.stdout
        for _ in names:
            until_sync(lambda: "made" in (creation.stdout or sys.stdin).readline(), 60)
        creation.send_signal(number)
        rest = creation.stdout.read()
        assert creation.wait(60) == (130 if number == signal.SIGINT else 143)
    assert rest.count("removed") == len(names)
    assert list(here.machines.iterdir()) == []
    assert [path.name for path in (here.root / "locks").iterdir() if "machine" in path.name] == []


def test_two_commands_at_once_do_not_damage_the_store(here: Store, tmp_path: Path) -> None:
    """Commands of several processes on the same names end with every machine whole or absent, and one authority."""
    go = tmp_path / "go"
    go.touch()
    commands = [["create", "-d", "slow", "a", "b"], ["create", "-d", "slow", "b", "a", "c"], ["rm", "-y", "c", "b"],
                ["create", "-d", "slow", "c", "a"], ["rm", "-y", "a", "b", "c"], ["ls"]]  # fmt: skip
    running = [
        subprocess.Popen([*program(tmp_path, go), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    assert all("Traceback" not in errors for _, errors in outputs), outputs
    for name in here.names():
        record = here.load(name)
        assert record.driver_name == "slow"
        files = {path.name for path in here.directory(name).iterdir()}
        assert {"config.json", "ca.pem", "cert.pem", "key.pem", "server.pem", "server-key.pem"} <= files
        assert (here.directory(name) / "ca.pem").read_bytes() == (here.certs / "ca.pem").read_bytes()
    assert sum(output.count("Creating CA") for output, _ in outputs) == 1


# --- ls ----------------------------------------------------------------------------------------------------------------


class Sleepy(FakeDriver):
    """Machines that run; those whose name begins with `dead` answer only when the tests are over."""

    over: threading.Event

    def state(self) -> State:
        if self.context.name.startswith("dead"):
            self.over.wait(60)
        return State.RUNNING

    def url(self) -> str:
        return "tcp://127.0.0.1:1"


register("sleepy", Sleepy)


@pytest.mark.parametrize(
    "words", [["ls"], ["ls", "--filter", "state=Running"], ["ls", "-q", "--filter", "state=timeout"]]
)
def test_ls_keeps_to_its_timeout(words: list[str], here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Fifty machines, ten of them dead: ls answers when its time is over, and the dead are shown as such."""
    for number in range(50):
        name = f"{'dead' if number < 10 else 'live'}{number}"
        here.save(name, Record(name=name, driver_name="sleepy"))
    Sleepy.over = threading.Event()
    began = time.monotonic()
    text = say(capsys, *words, "-t", "5")
    Sleepy.over.set()
    assert time.monotonic() - began < 30  # the dead would have held it for 60
    lines = text.splitlines()[0 if "-q" in words else 1 :]
    assert len(lines) == {1: 50, 3: 40, 4: 10}[len(words)]
    if len(words) == 1:
        assert sum("Timeout" in line for line in lines) == 10
        assert [line.split()[0] for line in lines[:2]] == ["dead0", "dead1"]
        assert sum("Running" in line for line in lines) == 40


# --- mount, parents ----------------------------------------------------------------------------------------------------

ENDPOINT = SshEndpoint("10.0.0.1", 2222, "docker", Path("/k ey"), Path("/known"), "m1")


@pytest.mark.parametrize(
    ("text", "place"),
    [("m1:/a", ("m1", "/a", "")), ("sam@m1:a", ("m1", "a", "sam")), ("/a", ("", "/a", "")), ("./a:b", ("", "./a:b", ""))],
)  # fmt: skip
def test_what_is_mounted(text: str, place: tuple[str, str, str]) -> None:
    """`[user@]machine:path`; without a machine the path is on `default`."""
    assert tuple(mounts.parse(text, lambda name: True)) == place


def test_how_it_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sshfs gets the machine's port, key and pinned host key; what is missing is named, with where it comes from."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MachineError, match=r"You must have a copy of the sshfs binary locally to use the mount feature$"
    ):
        mounts.mount_command(ENDPOINT, "/a", "/b", "linux")
    with pytest.raises(MachineError, match="macFUSE"):
        mounts.mount_command(ENDPOINT, "/a", "/b", "darwin")
    with pytest.raises(MachineError, match="SSHFS-Win"):
        mounts.mount_command(ENDPOINT, "/a", "X:", "win32")
    with pytest.raises(MachineError, match="fusermount"):
        mounts.unmount_command("/b", "linux")
    assert mounts.unmount_command("/b", "darwin") == ["umount", "/b"]
    assert mounts.unmount_command("X:", "win32") == ["net", "use", "X:", "/delete"]
    for name in ("sshfs", "fusermount"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    command = mounts.mount_command(ENDPOINT, "/a", "/b", "linux")
    assert command[-2:] == ["docker@10.0.0.1:/a", "/b"]
    assert {"Port=2222", 'IdentityFile="/k ey"', "IdentitiesOnly=yes", "HostKeyAlias=m1"} <= set(command)
    assert mounts.unmount_command("/b", "linux") == ["fusermount", "-u", "/b"]


def test_who_called_us() -> None:
    """The names of our parents are found in what ps prints; a loop or a gap ends the search."""
    processes = parse_ps("  1     0 /sbin/launchd\n 20     1 /Applications/iTerm 2\n 30    20 -zsh\n 40 30 python3\nx")
    assert ancestors(40, processes) == ["python3", "-zsh", "/Applications/iTerm 2", "/sbin/launchd"]
    assert ancestors(99, processes) == []
    assert len(ancestors(1, {1: (1, "x")})) < 9


def test_every_driver_of_the_list_can_be_had() -> None:
    """What `create` offers by default exists."""
    for platform, root in (("linux", True), ("linux", False)):
        assert driver_class(default_driver(platform, root=root)).flags()
    assert cli.VERSION == "0.16.2"
