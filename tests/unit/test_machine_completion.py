"""What shells are told of the commands, and `use`, in real shells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli.machine import COMMANDS, main
from shoal.cli.machine_completion import SCRIPTS
from shoal.machine.record import Record
from shoal.machine.store import Store

STAND_IN = """#!/bin/sh
[ "$1" = machine ] && shift
case "$1 $4" in
    "env m1") echo 'export DOCKER_MACHINE_NAME="m1"' | sed "$SED"; exit;;
    "env -u") echo 'unset DOCKER_MACHINE_NAME' | sed "$UNSED"; exit;;
    "env "*) exit 1;;
    "status "*) echo "$STATE"; exit;;
esac
exec {shoal} machine "$@"
"""
"""docker-machine, but with a machine m1 that `env` can point to."""
FISH = {"SED": "s/export \\(.*\\)=/set -gx \\1 /", "UNSED": "s/unset/set -e/"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with docker-machine, shoal, the scripts, and a store with two machines."""
    for name in ("docker-machine", "shoal"):
        (tmp_path / name).write_text(STAND_IN.format(shoal=Path(sys.executable).with_name("shoal")))
        (tmp_path / name).chmod(0o755)
    for name, text in SCRIPTS.items():
        (tmp_path / f"{name}.rc").write_text(text)
    store = Store(tmp_path / "store")
    for name in ("m1", "m2"):
        store.save(name, Record(name=name))
    return tmp_path


def ask(folder: Path, shell: str, text: str, **variables: str) -> list[str]:
    argv = {"bash": ["bash", "--norc", "-c"], "zsh": ["zsh", "-f", "-c"], "fish": ["fish", "-N", "-c"]}[shell]
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "MACHINE_STORAGE_PATH": str(folder / "store"),
                   "SED": "", "UNSED": "", **(FISH if shell == "fish" else {}), **variables}  # fmt: skip
    done = subprocess.run([*argv, f"source {folder}/{shell}.rc\n{text}"], env=environment, capture_output=True, text=True,
                          timeout=60, check=False, cwd=folder / "store/machines/m1")  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.parametrize("program", ["docker-machine", "shoal machine"])
def test_use(shell: str, program: str, folder: Path) -> None:
    """`use NAME` points the running shell to a machine and says so; `use -u` takes it back; a bad name changes nothing."""
    text = f"{program} use m1; echo $DOCKER_MACHINE_NAME$(__docker_machine_ps1); {program} use nosuch; echo $DOCKER_MACHINE_NAME; {program} use -u"
    if shell == "fish":
        text = text.replace("$(__docker_machine_ps1)", "(__docker_machine_ps1)")
    assert ask(folder, shell, text) == ["Active machine: m1", "m1 [m1]", "m1", "No active machine"]


STATES = [("Running", " R"), ("Stopped", " S"), ("Stopping", " R->S"), ("Starting", " S->R"), ("Error", " E"),
          ("Timeout", " E"), ("Paused", " S"), ("", " S")]  # fmt: skip


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_prompt_can_have_the_state(shell: str, folder: Path) -> None:
    """With DOCKER_MACHINE_PS1_SHOWSTATUS=true docker-machine's letters for the state follow the name, else nothing does."""
    name, shown = {"DOCKER_MACHINE_NAME": "m1"}, {"DOCKER_MACHINE_PS1_SHOWSTATUS": "true"}
    assert ask(folder, shell, "__docker_machine_ps1", **shown) == []
    assert ask(folder, shell, "__docker_machine_ps1", **name, STATE="Running") == [" [m1]"]
    loop = {"fish": "for STATE in {}; set -x STATE $STATE; __docker_machine_ps1; echo; end"}
    text = loop.get(shell, "for STATE in {}; do export STATE; __docker_machine_ps1; echo; done")
    states = " ".join(f"'{state}'" for state, _ in STATES)
    assert ask(folder, shell, text.format(states), **name, **shown) == [f" [m1{letters}]" for _, letters in STATES]
    if shell != "fish":
        assert ask(folder, shell, "__docker_machine_ps1 '(%s)'", **name, **shown, STATE="Stopping") == ["(m1 R->S)"]


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.parametrize(("wrapped", "kind"), [("true", "function"), ("false", "file"), ("no", "file")])
def test_the_commands_can_be_left_as_they_are(shell: str, wrapped: str, kind: str, folder: Path) -> None:
    """Unless DOCKER_MACHINE_WRAPPED is true, as it is by default, docker-machine and shoal stay programs."""
    text = {"bash": "type -t", "zsh": "whence -w", "fish": "type -t"}[shell]
    found = ask(folder, shell, f"{text} docker-machine; {text} shoal", DOCKER_MACHINE_WRAPPED=wrapped)
    word = "command" if (shell, kind) == ("zsh", "file") else kind
    assert [line.split()[-1] for line in found] == [word, word]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_everything_else_goes_through(shell: str, folder: Path) -> None:
    """All other commands reach the program."""
    assert ask(folder, shell, "docker-machine ls -q; shoal machine ls -q") == ["m1", "m2", "m1", "m2"]


LINES = [("docker-machine sto", ["stop"]), ("docker-machine stop m", ["m1", "m2"]), ("shoal machine ins", ["inspect"]),
         ("docker-machine scp m1", ["m1:"]), ("docker-machine ls --f", ["--filter", "--format"]),
         ("docker-machine -D url m2", ["m2"])]  # fmt: skip


@pytest.mark.parametrize(("line", "found"), LINES)
def test_completion_in_bash(line: str, found: list[str], folder: Path) -> None:
    """Commands, names of machines and flags are completed."""
    words = " ".join(f"'{word}'" for word in line.split())
    text = f"COMP_WORDS=({words}); COMP_CWORD={len(line.split()) - 1}; __shoal_machine_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    assert ask(folder, "bash", text) == found


@pytest.mark.parametrize(("line", "found"), LINES)
def test_completion_in_zsh(line: str, found: list[str], folder: Path) -> None:
    """Commands, names of machines and flags are completed; zsh itself picks out those that begin with what was typed."""
    words = " ".join(f"'{word}'" for word in line.split())
    text = (
        f"words=({words}); CURRENT={len(line.split())}; compadd() {{ print -l -- ${{(P)2}} }}; __shoal_machine_complete"
    )
    assert ask(folder, "zsh", text) == found


@pytest.mark.parametrize(("line", "found"), LINES)
def test_completion_in_fish(line: str, found: list[str], folder: Path) -> None:
    """Commands, names of machines and flags are completed."""
    assert [word for word in ask(folder, "fish", f"complete -C '{line}'") if "/" not in word] == found


def test_without_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    """`use` without the shell's function says how to have it; completion knows its shells."""
    assert main(["use", "m1"], "docker-machine") == 1
    assert 'eval "$(docker-machine completion)"' in capsys.readouterr().err
    assert main(["completion", "cmd"], "docker-machine") == 1
    assert main(["completion", "zsh"], "docker-machine") == 0
    assert "compdef" in capsys.readouterr().out
    assert main(["completion", "--words", "", "x"], "docker-machine") == 0
    assert main(["completion", "--words"], "docker-machine") == 0
    assert set(capsys.readouterr().out.split()) == set(COMMANDS)
