"""What `env` prints for each shell."""

from __future__ import annotations

import ast
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
    "elvish": "set E:V = 'x'\n# Run this command to configure your shell: \n# eval (m env a | slurp)\n",
    "xonsh": "$V = 'x'\n# Run this command to configure your shell: \n# execx($(m env a))\n",
    "nu": "$env.V = 'x'\n# Run this command to configure your shell: \n"
          "# m env a | lines | parse \"$env.{name} = '{value}'\" | transpose --header-row --as-record | load-env\n",
}  # fmt: skip
UNSET = {"bash": "unset V", "fish": "set -e V;", "powershell": "Remove-Item Env:\\\\V", "cmd": "SET V=",
         "tcsh": "unsetenv V;", "emacs": '(setenv "V" nil)', "elvish": "unset-env V",
         "xonsh": "${...}.pop('V', None)", "nu": "hide-env --ignore-errors V"}  # fmt: skip


@pytest.mark.parametrize("word", EXPECTED)
def test_lines_are_docker_machines(word: str) -> None:
    """Set, unset and the hint are what docker-machine prints for the shell."""
    assert shells.lines(shells.find(word), {"V": "x"}, "m env a") == EXPECTED[word]
    assert shells.lines(shells.find(word), {"V": None}, "m env a").splitlines()[0] == UNSET[word]


def test_an_unknown_shell_is_an_error() -> None:
    """No syntax is guessed for a shell that is not known."""
    with pytest.raises(MachineError, match='Unknown shell "nosuch"'):
        shells.find("nosuch")


def test_names_of_shells() -> None:
    """Every word that docker-machine knew is taken, and those of its relatives."""
    for word in (
        "bash",
        "zsh",
        "sh",
        "ksh",
        "dash",
        "fish",
        "powershell",
        "pwsh",
        "cmd",
        "csh",
        "tcsh",
        "emacs",
        "FISH",
    ):
        assert shells.find(word)
    assert shells.find("csh") is shells.find("tcsh")
    assert shells.find("pwsh") is shells.find("powershell")


REAL = {
    "bash": ["bash", "-c", 'eval "$(cat)"; printenv V; eval "$(printf %s "$0")"; printenv V || echo gone'],
    "zsh": ["zsh", "-fc", 'eval "$(cat)"; printenv V; eval "$0"; printenv V || echo gone'],
    "fish": ["fish", "-Nc", "cat | source; printenv V; echo $argv[1] | source; printenv V; or echo gone"],
    "elvish": [
        "elvish",
        "-norc",
        "-c",
        "eval (slurp); e:printenv V; eval $args[0]; if (not (has-env V)) { echo gone }",
    ],
    "tcsh": ["tcsh", "-fc", 'eval "`cat | head -1`"; printenv V; eval "$1"; printenv V || echo gone'],
}
"""Each reads what sets V from its standard input, and gets what unsets it as its argument."""
VALUES = [
    "plain",
    "/a b/c",
    'a"b',
    "a'b",
    "a$HOME",
    "a`id`b",
    "a!b",
    "a\\b",
    "a\\",
    "C:\\Users\\me",
    "x;y&z|(w)<>*?",
    "ä#%~",
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("word", REAL)
def test_real_shells_get_the_value(word: str, value: str) -> None:
    """Each shell that is at hand takes over exactly this value, and forgets it again."""
    shell = shells.find(word)
    text, unset = shells.lines(shell, {"V": value}, "m env"), shell.unset.format("V")
    argv = REAL[word]
    extra = ["-c", unset] if word == "tcsh" else [unset]
    if word == "tcsh":
        argv, extra = ["tcsh", "-fc", argv[2].replace("$1", unset)], []
    result = subprocess.run([*argv, *extra], input=text, capture_output=True, text=True, check=False, timeout=30,
                            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"})  # fmt: skip
    assert result.stdout.splitlines() == [value, "gone"], result.stderr


def test_nushell_is_given_only_what_it_can_hold() -> None:
    """Between single quotes Nushell knows no escape: a value with one is refused rather than broken."""
    with pytest.raises(MachineError, match="single quote"):
        shells.lines(shells.find("nu"), {"V": "a'b"}, "m env")


@pytest.mark.parametrize("value", [*VALUES, "a&b", "%PATH%", "100%", "a^b", "(x) & echo %y%"])
def test_cmd_gets_the_value_as_it_is(value: str) -> None:
    """The hint's FOR runs each line after cmd has looked for special characters: whatever was put before one would stay."""
    shell = shells.find("cmd")
    assert shells.lines(shell, {"V": value}, "m env").splitlines()[0] == f"SET V={value}"
    assert "DO @%i" in shell.hint


def test_xonsh_gets_python() -> None:
    """What xonsh is given is a string of Python, whatever the value."""
    for value in VALUES:
        line = shells.lines(shells.find("xonsh"), {"V": value}, "m env").splitlines()[0]
        assert ast.literal_eval(line.removeprefix("$V = ")) == value


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
