"""What Hyper-V is told, and what its answers mean."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine.driver import Context, EngineSetup, State
from shoal.machine.errors import MachineError, NotRunning, PreCreateError
from shoal.machine.hyperv import parse, powershell, scripts, settings
from shoal.machine.hyperv.driver import HypervDriver
from shoal.machine.hyperv.observer import FRESH, Observer
from shoal.machine.hyperv.parse import Machine
from shoal.machine.hyperv.powershell import Answer, PowerShell, PowerShellError, ScriptTimeout, quote

sys.path.insert(0, str(Path(__file__).parent.parent / "standins"))
import ps

NUMBER = "9239cdc7-97c6-41af-ab70-23c98863e5f4"
FOLDER = PureWindowsPath(r"C:\Users\O'Brien\.docker\machine\machines\m1")
FILES = scripts.Files(FOLDER, FOLDER / "fixed.vhd", FOLDER / "disk.vhd", FOLDER / "shoal.iso")


@given(st.text().filter(lambda text: "\0" not in text))
def test_any_text_comes_through_quoting_as_it_is(text: str) -> None:
    """A quoted text is one token, and PowerShell's reading of it is the text: nothing is expanded, nothing ends it."""
    first, end = ps.tokens(quote(text))
    assert (first.kind, end.kind) == ("text", "end")
    assert ps.literal(first.text) == text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("my switch", "'my switch'"), ("it's", "'it''s'"), ("it\u2019s", "'it\u2019\u2019s'"), ("$(x) `n", "'$(x) `n'"),
     (r"C:\a b\c", r"'C:\a b\c'"), ("", "''")],
)  # fmt: skip
def test_quoting(text: str, quoted: str) -> None:
    """All of PowerShell's single quotes are doubled; dollar signs and backticks mean nothing inside."""
    assert quote(text) == quoted


def test_what_no_text_can_hold_is_refused() -> None:
    """A zero would end the command line."""
    with pytest.raises(MachineError):
        quote("a\0b")


def test_windows_paths_and_names_are_literal() -> None:
    """A user's directory may have a quote in it, a switch any name."""
    data = {"VSwitch": "it's; Remove-VM *", "MemSize": 512}
    statement = scripts.register("m1", data, FILES)[0]
    assert r"-Path 'C:\Users\O''Brien\.docker\machine\machines\m1'" in statement
    assert "-SwitchName 'it''s; Remove-VM *'" in statement
    assert "-MemoryStartupBytes 536870912" in statement
    texts = [ps.literal(token.text) for token in ps.tokens(statement) if token.kind == "text"]
    assert texts == ["m1", str(FOLDER), "it's; Remove-VM *"]


def test_what_a_machine_is_made_of() -> None:
    """Every setting is said only where it was asked for."""
    data = {"CPU": 2, "MacAddr": "00155D010203", "DisableDynamicMemory": False, "VLanID": 0}
    plain = scripts.furnish(data, FILES)
    assert plain[1:] == [
        r"Hyper-V\Set-VMProcessor -VM $vm -Count 2",
        r"Hyper-V\Set-VMNetworkAdapter -VM $vm -StaticMacAddress '00155D010203'",
        r"Hyper-V\Get-VMDvdDrive -VM $vm | Hyper-V\Set-VMDvdDrive -Path "
        r"'C:\Users\O''Brien\.docker\machine\machines\m1\shoal.iso'",
        r"Hyper-V\Add-VMHardDiskDrive -VM $vm -Path 'C:\Users\O''Brien\.docker\machine\machines\m1\disk.vhd'",
    ]
    full = scripts.furnish({**data, "DisableDynamicMemory": True, "VLanID": 7}, FILES)
    assert full[5:] == [
        r"Hyper-V\Set-VMMemory -VM $vm -DynamicMemoryEnabled $false",
        r"Hyper-V\Set-VMNetworkAdapterVlan -VM $vm -Access -VlanId 7",
    ]


def test_the_disk_grows_only_for_administrators() -> None:
    """Resizing needs the computer's administrator; for others the disk has its size from the beginning."""
    assert len(scripts.data_disk(FILES, 1 << 30, resize=False)) == 1
    assert scripts.data_disk(FILES, 1 << 30, resize=True)[1].endswith("-SizeBytes 1073741824")


@pytest.mark.parametrize(
    ("addresses", "usable"),
    [(["fe80::215:5dff:fe01:203", "192.168.1.7"], "192.168.1.7"), (["fe80::1"], None), (["169.254.3.4", "10.0.0.4"], "10.0.0.4"),
     ([], None), (["0.0.0.0"], None), (["2001:db8::1", "172.18.3.4"], "172.18.3.4")],
)  # fmt: skip
def test_link_local_addresses_are_none(addresses: list[str], usable: str | None) -> None:
    """What a card gives itself reaches nobody: the machine is waited for until it has an address that does."""
    assert parse.usable_address(addresses) == usable


@pytest.mark.parametrize(
    ("value", "state"),
    [(2, State.RUNNING), ("Running", State.RUNNING), (3, State.STOPPED), ("Off", State.STOPPED), (6, State.SAVED),
     (9, State.PAUSED), (32777, State.STARTING), (32785, State.ERROR), ("RunningCritical", State.ERROR), (1, State.NONE)],
)  # fmt: skip
def test_states_come_as_numbers_or_names(value: int | str, state: State) -> None:
    """PowerShell 5.1 writes enumerations as numbers, later ones may not."""
    assert parse.state(value) is state


def test_answers_are_read_in_every_form_that_arrays_take() -> None:
    """One line of JSON per question; PowerShell 5.1 may wrap an array, or forget that one element is one."""
    text = '[]\r\n{"Id":1}\r\n{"value":[{"Id":2}],"Count":1}\r\n\r\n[true]\r\n'
    assert parse.answers(text) == [[], [{"Id": 1}], [{"Id": 2}], [True]]
    with pytest.raises(MachineError, match="not expected"):
        parse.answers("hello")


def switch(name: str, kind: int | str, number: str = NUMBER) -> dict[str, Any]:
    return {"Id": number, "Name": name, "SwitchType": kind}


def test_the_switch_is_the_one_that_was_named_else_an_external_one() -> None:
    """Names are compared as Windows does; the switch that Windows brings along is the last resort."""
    own = switch("Default Switch", 1, parse.DEFAULT_SWITCH.upper())
    known = parse.switches([own, switch("inner", "Internal"), switch("MySwitch", 2), switch("other", "External")])
    assert parse.choose_switch(known, "myswitch").name == "MySwitch"
    assert parse.choose_switch(known, "").name == "MySwitch"
    assert parse.choose_switch(known[:2], "").name == "Default Switch"
    with pytest.raises(MachineError, match='vswitch "nosuch" not found'):
        parse.choose_switch(known, "nosuch")
    with pytest.raises(MachineError, match="no External vswitch found"):
        parse.choose_switch(known[1:2], "")


@pytest.mark.parametrize(
    ("text", "digits"),
    [("00:15:5d:0a:0B:0c", "00155D0A0B0C"), ("00-15-5D-0A-0B-0C", "00155D0A0B0C"), ("00155d0a0b0c", "00155D0A0B0C")],
)  # fmt: skip
def test_mac_addresses_in_every_spelling(text: str, digits: str) -> None:
    """Hyper-V takes twelve digits."""
    assert settings.mac_address(text) == digits


@pytest.mark.parametrize("text", ["", "00:15", "01:15:5d:0a:0b:0c", "gg155d0a0b0c"])
def test_bad_mac_addresses_are_refused(text: str) -> None:
    """Too short, not hexadecimal, or a group's address."""
    with pytest.raises(MachineError, match="static-macaddress"):
        settings.mac_address(text)


def test_a_machine_s_files_are_compared_as_windows_does() -> None:
    """Whether Hyper-V's machine is ours is told by where it lies, in any case."""
    assert parse.is_below(str(FOLDER / "m1"), str(FOLDER).upper())
    assert not parse.is_below(str(FOLDER) + "0", str(FOLDER))


def row(name: str = "m1", state: int = 2, number: str = NUMBER) -> str:
    return json.dumps({"Id": number, "Name": name, "State": state, "Path": str(FOLDER / name)})


def card(*addresses: str) -> str:
    return json.dumps({"VMId": NUMBER.upper(), "MacAddress": "x", "SwitchName": "s", "IPAddresses": list(addresses)})


def everything(state: int = 2, *addresses: str) -> str:
    return f"[{row(state=state)}]\n[{card(*addresses)}]\n"


class Recorder:
    """A PowerShell that answers by a word in the script; several answers are given one after another."""

    def __init__(self, **answers: str | Answer | Exception | list[str]) -> None:
        self.answers = answers
        self.scripts: list[str] = []
        self.timeouts: list[float] = []

    def __call__(self, command: Sequence[str], timeout: float) -> Answer:
        assert list(command[:4]) == ["powershell.exe", "-NoProfile", "-NonInteractive", "-Command"]
        self.scripts.append(command[4])
        self.timeouts.append(timeout)
        for word, answer in self.answers.items():
            if word.replace("_", "-") in command[4]:
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                if isinstance(answer, Exception):
                    raise answer
                return Answer(0, answer, "") if isinstance(answer, str) else answer
        return Answer(0, "", "")

    def shell(self) -> PowerShell:
        return PowerShell("powershell.exe", self)


def test_powershell_s_complaint_is_the_error() -> None:
    """It is passed on, not dropped, and so is what was printed before it."""
    recorder = Recorder(New_VM=Answer(1, '[{"Id":"ABC"}]\n', "The parameter is incorrect.\r\n"))
    with pytest.raises(PowerShellError, match=r"^Hyper-V: The parameter is incorrect\.$") as caught:
        recorder.shell()("New-VM")
    assert parse.new_machine(caught.value.output) == "abc"


def test_many_who_ask_at_once_are_one_process() -> None:
    """`ls` of fifty machines asks for state and address of each: PowerShell is started once."""
    recorder = Recorder(Get_VM=everything(2, "10.0.0.4"))
    observer = Observer(recorder.shell, lambda: 0.0)
    threads = [threading.Thread(target=observer.machines) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recorder.scripts) == 1


def test_what_is_known_grows_old() -> None:
    """An answer counts for a moment, and not after something was changed."""
    recorder, now = Recorder(Get_VM=everything()), [0.0]
    observer = Observer(recorder.shell, lambda: now[0])
    observer.machines()
    now[0] = FRESH / 2
    observer.machines()
    assert len(recorder.scripts) == 1
    now[0] = FRESH * 2
    observer.machines()
    observer.forget()
    observer.machines()
    assert len(recorder.scripts) == 3


Make = Callable[..., tuple[HypervDriver, Recorder, list[str]]]


@pytest.fixture
def driver(tmp_path: Path) -> Make:
    """Makes a driver over these answers."""

    def make(**answers: Any) -> tuple[HypervDriver, Recorder, list[str]]:
        recorder, said = Recorder(**answers), list[str]()
        clock = iter(range(0, 1000000, 10))

        class Over(HypervDriver):
            observer = Observer(recorder.shell, lambda: float(next(clock)))

            def _shell(self) -> PowerShell:
                return recorder.shell()

        directory = tmp_path / "machines" / "m1"
        directory.mkdir(parents=True, exist_ok=True)
        made = Over(Context("m1", directory, tmp_path, said.append), {})
        made.configure({})
        made.data["VMId"] = NUMBER
        return made, recorder, said

    return make


def test_one_question_gives_state_and_address(driver: Make) -> None:
    """The address is an IPv4 address that others reach, whatever comes first."""
    made, _, _ = driver(Get_VM=everything(2, "fe80::1", "192.168.1.7"))
    assert made.state() is State.RUNNING
    assert made.url() == "tcp://192.168.1.7:2376"
    assert made.ssh()[:3] == ("192.168.1.7", 22, "root")


def test_a_machine_that_is_off_or_gone_has_no_address(driver: Make) -> None:
    """It is known by its Id: a machine of the same name may be another's."""
    for answer, state in (
        (everything(3), State.STOPPED),
        (f"[{row(number='x')}]\n[]\n", State.NONE),
        ("[]\n[]\n", State.NONE),
    ):
        made, _, _ = driver(Get_VM=answer)
        assert made.state() is state
        with pytest.raises(NotRunning):
            made.url()


def test_stop_turns_off_what_does_not_shut_down(driver: Make) -> None:
    """Whether Hyper-V refuses or does not come back: stop has a limit, and says what it does then."""
    for trouble in (ScriptTimeout("late"), Answer(1, "", "The device is not ready for use.")):
        made, recorder, said = driver(**{"-VM $vm -Force": trouble, "Get-VM |": everything(2)})
        made.stop()
        assert recorder.timeouts[1] == made.stop_timeout
        assert r"Hyper-V\Stop-VM -VM $vm -TurnOff -Force" in recorder.scripts[-1]
        assert any("turning it off" in line for line in said)


def test_what_is_gone_already_is_removed(driver: Make) -> None:
    """And so is what never came to be."""
    for number in (NUMBER, ""):
        made, recorder, _ = driver(Get_VM="[]\n[]\n")
        made.data["VMId"] = number
        made.remove()
        assert not any("Remove-VM" in script for script in recorder.scripts)


def test_a_machine_is_removed_by_its_number(driver: Make) -> None:
    """A running one is turned off first."""
    made, recorder, _ = driver(**{"Get-VM |": everything(2)})
    made.remove()
    assert [script.count(NUMBER) for script in recorder.scripts[1:]] == [1, 1]
    assert [
        word in script
        for word, script in zip(("Stop-VM -VM $vm -TurnOff", "Remove-VM -VM $vm"), recorder.scripts[1:], strict=True)
    ] == [True, True]


RIGHTS = "Get-Module"


@pytest.mark.parametrize(
    ("answers", "message"),
    [({RIGHTS: "[]\n[false]\n[true]\n"}, "Hyper-V PowerShell Module is not available"),
     ({RIGHTS: '[{"Name":"Hyper-V"}]\n[false]\n[false]\n'}, "Hyper-v commands have to be run as an Administrator"),
     ({RIGHTS: '[{"Name":"Hyper-V"}]\n[true]\n[false]\n', "Get-VMSwitch": "[]\n"}, "no External vswitch found")],
)  # fmt: skip
def test_what_is_missing_is_found_before_anything_is_made(driver: Make, answers: dict[str, str], message: str) -> None:
    """Exit status 3."""
    made, _, _ = driver(**answers)
    with pytest.raises(PreCreateError, match=message):
        made.check()


def test_addresses_are_the_network_s_to_give(driver: Make) -> None:
    """A new one is refused clearly."""
    made, _, _ = driver()
    with pytest.raises(MachineError, match="DHCP server"):
        made.new_address()


def test_a_machine_that_ends_while_it_starts_is_not_waited_for(driver: Make) -> None:
    """Nor is one without an address waited for in all eternity."""

    def prepare(_: str) -> EngineSetup:
        raise AssertionError

    made, _, _ = driver(**{"Get-VM |": [everything(3), everything(2), everything(3)]})
    with pytest.raises(MachineError, match="ended while it started"):
        made.start(prepare)
    made, _, _ = driver(**{"Get-VM |": everything(2, "fe80::1")})
    made.boot_timeout = made.poll = 0
    with pytest.raises(MachineError, match="no IPv4 address"):
        made.start(prepare)


def test_a_script_ends_at_the_first_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """Its message, and nothing else, is on standard error; what was printed before is there; the status is 1."""
    ran: list[str] = []

    def fail(given: object, rows: object) -> list[str]:
        raise ps.PsError("no such thing")

    commands = {"good": ps.Command(lambda given, rows: ["said"], {}), "bad": ps.Command(fail, {}),
                "never": ps.Command(lambda given, rows: ran.append("x") or [], {})}  # fmt: skip
    statics = {"[Console]::Error": {"WriteLine": lambda text: print(text, file=sys.stderr)}}
    shell = ps.Shell(commands, {**statics, "[Console]::OutputEncoding": 1, "[Text.Encoding]::UTF8": 1}, "Hyper-V")
    with pytest.raises(ps.Exit) as caught:
        shell.run(powershell.script(["good", "bad", "never"]))
    assert (caught.value.status, shell.output, ran, capfd.readouterr().err) == (1, ["said"], [], "no such thing\n")


def test_a_machine_whose_id_was_never_heard_is_known_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PowerShell was ended while it made the machine: `rm` finds that one, and none that only has the same name."""
    rows = [
        Machine("b", "m1", State.STOPPED, r"C:\other", ()),
        Machine("a", "m1", State.STOPPED, str(tmp_path / "m1"), ()),
    ]

    class Known:
        def machines(self) -> list[Machine]:
            return rows

    monkeypatch.setattr(HypervDriver, "observer", Known())
    driver = HypervDriver(Context("m1", tmp_path, tmp_path, print), {"VMId": "", "MachineName": "m1"})
    assert driver.state() is State.STOPPED
    assert driver.data["VMId"] == "a"
    del rows[1]
    assert HypervDriver(Context("m1", tmp_path, tmp_path, print), {"VMId": ""}).state() is State.NONE
