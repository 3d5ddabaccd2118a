"""What `env` prints for each shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine import shells
from shoal.machine.errors import MachineError

EXPECTED = {
    "bash": 'export V="x"\n# Run this command to configure your shell: \n# eval $(m env a)\n',
    "fish": 'set -gx V "x";\n# Run this command to configure your shell: \n# eval (m env a)\n',
    "powershell": '$Env:V = "x"\n# Run this command to configure your shell: \n# & m env a | Invoke-Expression\n',
    "cmd": "SET V=x\nREM Run this command to configure your shell: \n"
           "REM \t@FOR /f \"tokens=*\" %i IN ('m env a') DO @%i\n",
    "tcsh": 'setenv V "x";\n: Run this command to configure your shell: \n: eval `m env a`\n',
    "emacs": '(setenv "V" "x")\n;; Run this command to configure your shell: \n'
             ';; (with-temp-buffer (shell-command "m env a" (current-buffer)) (eval-buffer))\n',
}  # fmt: skip
UNSET = {"bash": "unset V", "fish": "set -e V;", "powershell": "Remove-Item Env:\\\\V", "cmd": "SET V=",
         "tcsh": "unsetenv V;", "emacs": '(setenv "V" nil)'}  # fmt: skip


@pytest.mark.parametrize("word", EXPECTED)
def test_lines_are_docker_machines(word: str) -> None:
    """Set, unset and the hint are what docker-machine prints for the shell."""
    assert shells.lines(shells.find(word), {"V": "x"}, "m env a") == EXPECTED[word]
    assert shells.lines(shells.find(word), {"V": None}, "m env a").splitlines()[0] == UNSET[word]


def test_an_unknown_shell_is_an_error() -> None:
    """No syntax is guessed for a shell that is not known."""
    with pytest.raises(MachineError, match='Unknown shell "nosuch"'):
        shells.find("nosuch")


@given(st.text(st.characters(blacklist_characters="\0\n\r", blacklist_categories=["Cs"])))
def test_bash_gets_the_value_whatever_it_holds(value: str) -> None:
    """Quotes, dollars and backticks in a path neither break the shell nor run anything."""
    text = shells.lines(shells.find("bash"), {"V": value}, "m env")
    shell = shutil.which("sh")
    assert shell
    result = subprocess.run([shell, "-c", text + 'printf %s "$V"'], capture_output=True, check=True, env={"PATH": ""})
    assert result.stdout.decode() == value


@pytest.mark.parametrize(
    ("parents", "login", "windows", "found"),
    [(["bash", "sshd"], "/bin/zsh", False, "bash"), (["python3", "fish"], "/bin/bash", False, "fish"),
     (["make"], "/usr/bin/zsh", False, "zsh"), (["-zsh"], None, False, "zsh"), ([], None, False, "sh"),
     (["powershell.exe"], None, True, "powershell"), ([], None, True, "cmd"), (["x"], "/bin/nosuch", False, "sh")],
)  # fmt: skip
def test_the_running_shell_beats_the_login_shell(
    parents: list[str], login: str | None, windows: bool, found: str
) -> None:
    """The nearest parent that is a shell counts, then SHELL, then the system's plainest."""
    assert shells.detect(parents, login, windows=windows) == found


@pytest.mark.parametrize(
    ("environment", "result"),
    [({}, ("NO_PROXY", "127.0.0.1")), ({"no_proxy": "127.0.0.11"}, ("no_proxy", "127.0.0.11,127.0.0.1")),
     ({"NO_PROXY": "a, 127.0.0.1"}, ("NO_PROXY", "a, 127.0.0.1")), ({"no_proxy": "", "NO_PROXY": "b"}, ("NO_PROXY", "b,127.0.0.1"))],
)  # fmt: skip
def test_the_proxy_exception_is_added_once(environment: dict[str, str], result: tuple[str, str]) -> None:
    """The address joins the list that is in use, unless it is in it as a whole entry."""
    assert shells.proxy_exception(environment, "127.0.0.1") == result
