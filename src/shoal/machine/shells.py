"""How each shell sets and unsets variables: what `env` prints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from shoal.machine.errors import MachineError


class Shell(NamedTuple):
    """A family of shells. `quote` makes a value safe between the quotes of `set`; `hint` is how to run the output."""

    set: str
    unset: str
    comment: str
    hint: str
    quote: Callable[[str], str]


def _escaping(escape: str, characters: str) -> Callable[[str], str]:
    def quote(value: str) -> str:
        return "".join(escape + character if character in characters else character for character in value)

    return quote


def _plain_for_nu(value: str) -> str:
    """Between single quotes Nushell takes everything as it is, and has no way to write a single quote."""
    if "'" in value:
        raise MachineError(f"Nushell cannot be given a value with a single quote: {value}")
    return value


def _for_csh(value: str) -> str:
    """In csh nothing can be escaped between double quotes but the history character: such pieces have other quotes."""
    return "".join(f"\"'{c}'\"" if c in '"$`' else "\\!" if c == "!" else c for c in value)


_POSIX = Shell('export {0}="{1}"', "unset {0}", "#", "eval $({0})", _escaping("\\", '\\"$`'))
_FISH = Shell('set -gx {0} "{1}";', "set -e {0};", "#", "eval ({0})", _escaping("\\", '\\"$'))
_POWERSHELL = Shell('$Env:{0} = "{1}"', "Remove-Item Env:\\\\{0}", "#", "& {0} | Invoke-Expression",
                    _escaping("`", '`"$'))  # fmt: skip
# The hint has FOR put each line in the place of %i, which cmd does after it has looked for % and for & | < > ^ in
# what was typed: in the line they mean nothing any more, and a ^ or a second % before them would be part of the value.
_CMD = Shell("SET {0}={1}", "SET {0}=", "REM", "\t@FOR /f \"tokens=*\" %i IN ('{0}') DO @%i", str)
_TCSH = Shell('setenv {0} "{1}";', "unsetenv {0};", ":", "eval `{0}`", _for_csh)
_EMACS = Shell('(setenv "{0}" "{1}")', '(setenv "{0}" nil)', ";;",
               '(with-temp-buffer (shell-command "{0}" (current-buffer)) (eval-buffer))',
               _escaping("\\", '\\"'))  # fmt: skip

_ELVISH = Shell("set E:{0} = '{1}'", "unset-env {0}", "#", "eval ({0} | slurp)",
                lambda value: value.replace("'", "''"))  # fmt: skip
_XONSH = Shell("${0} = '{1}'", "${{...}}.pop('{0}', None)", "#", "execx($({0}))", _escaping("\\", "\\'"))
# The lines are valid Nushell; since it evaluates no text, the hint picks the values out of them.
_NU = Shell("$env.{0} = '{1}'", "hide-env --ignore-errors {0}", "#",
            "{0} | lines | parse \"$env.{{name}} = '{{value}}'\" | transpose --header-row --as-record | load-env",
            _plain_for_nu)  # fmt: skip

SHELLS: Mapping[str, Shell] = {
    "bash": _POSIX, "zsh": _POSIX, "sh": _POSIX, "dash": _POSIX, "ash": _POSIX, "ksh": _POSIX, "mksh": _POSIX,
    "fish": _FISH, "powershell": _POWERSHELL, "pwsh": _POWERSHELL, "cmd": _CMD, "tcsh": _TCSH, "csh": _TCSH,
    "emacs": _EMACS, "elvish": _ELVISH, "xonsh": _XONSH, "nu": _NU, "nushell": _NU,
}  # fmt: skip


def find(word: str) -> Shell:
    """The shell that `--shell word` asks for. Raises MachineError."""
    try:
        return SHELLS[word.lower()]
    except KeyError:
        raise MachineError(f'Error: Unknown shell "{word}". Known: {", ".join(sorted(SHELLS))}') from None


def detect(parents: Iterable[str], login: str | None, *, windows: bool) -> str:
    """The shell that is running: the nearest of our parent processes that is one, else the login shell, else a guess.

    `parents` are program names, nearest first.
    """
    for parent in (*parents, login or ""):
        word = parent.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe").lstrip("-")
        if word in SHELLS:
            return word
    return "cmd" if windows else "sh"


def lines(shell: Shell, assignments: Mapping[str, str | None], command: str) -> str:
    """The whole output: `None` unsets; `command` is what the user typed, for the hint."""
    text = []
    for name, value in assignments.items():
        if value is None:
            text.append(shell.unset.format(name))
        else:
            if "\n" in value or "\0" in value:
                raise MachineError(f"the value of {name} has a line break")
            text.append(shell.set.format(name, shell.quote(value)))
    text.append(f"{shell.comment} Run this command to configure your shell: ")
    text.append(f"{shell.comment} {shell.hint.format(command)}")
    return "\n".join(text) + "\n"


def proxy_exception(environment: Mapping[str, str], address: str) -> tuple[str, str]:
    """The variable that exempts addresses from the proxy, and its value with `address` in it.

    It is the one that is set, else NO_PROXY; addresses are compared whole.
    """
    name = "no_proxy" if environment.get("no_proxy") else "NO_PROXY"
    entries = [entry for entry in environment.get(name, "").split(",") if entry.strip()]
    if address not in (entry.strip() for entry in entries):
        entries.append(address)
    return name, ",".join(entries)


def proxy_variable(environment: Mapping[str, str]) -> str:
    """The variable that `--unset --no-proxy` takes away."""
    return "no_proxy" if environment.get("no_proxy") else "NO_PROXY"
