"""completion: what bash, zsh and fish are told of our commands; `use` and the prompt that docker-machine's users had.

A program cannot change the shell that called it, so that `use NAME` is a function of the shell: `env`, evaluated.
"""

from __future__ import annotations

import os
import sys

from shoal.cli import machine_parents as parents
from shoal.cli.machine_command import Session, UsageFault
from shoal.machine import shells
from shoal.machine.errors import MachineError

_POSIX = r"""
__shoal_machine_use() {
    # the program's words, `--`, then what `env` takes
    local program=()
    while [ "$1" != -- ]; do program+=("$1"); shift; done
    shift
    local text
    text="$(command "${program[@]}" env --shell bash "$@")" || return
    eval "$text"
    if [ -n "${DOCKER_MACHINE_NAME:-}" ]; then
        echo "Active machine: $DOCKER_MACHINE_NAME"
    else
        echo "No active machine"
    fi
}
if [ "${DOCKER_MACHINE_WRAPPED:-true}" = true ]; then
    shoal() {
        if [ "${1:-}" = machine ] && [ "${2:-}" = use ]; then
            shift 2
            __shoal_machine_use shoal machine -- "$@"
        else
            command shoal "$@"
        fi
    }
    docker-machine() {
        if [ "${1:-}" = use ]; then
            shift
            __shoal_machine_use docker-machine -- "$@"
        else
            command docker-machine "$@"
        fi
    }
fi
# For a prompt: $(__docker_machine_ps1 " [%s]"), with the state when DOCKER_MACHINE_PS1_SHOWSTATUS is true
__docker_machine_ps1() {
    [ -n "${DOCKER_MACHINE_NAME:-}" ] || return 0
    local state=
    if [ "${DOCKER_MACHINE_PS1_SHOWSTATUS:-false}" = true ]; then
        case "$(command shoal machine status "$DOCKER_MACHINE_NAME" 2>/dev/null)" in
            Running) state=' R';; Stopping) state=' R->S';; Starting) state=' S->R';; Error|Timeout) state=' E';;
            *) state=' S';;
        esac
    fi
    printf "${1:- [%s]}" "$DOCKER_MACHINE_NAME$state"
}
"""

_BASH = r"""
__shoal_machine_complete() {
    local words=("${COMP_WORDS[@]:0:COMP_CWORD}") word="${COMP_WORDS[COMP_CWORD]}"
    local program=("${words[0]##*/}") command=
    if [ "${words[0]##*/}" = shoal ]; then
        if [ "$COMP_CWORD" -eq 1 ] || [ "${words[1]}" != machine ]; then return; fi
        program+=(machine)
        words=("${words[@]:1}")
    fi
    local one
    for one in "${words[@]:1}"; do
        case "$one" in -*) ;; *) command="$one"; break;; esac
    done
    COMPREPLY=()
    while IFS= read -r one; do COMPREPLY+=("$one"); done < <(
        compgen -W "$(command "${program[@]}" completion --words "$command" "$word" 2>/dev/null)" -- "$word"
    )
}
complete -o default -F __shoal_machine_complete shoal docker-machine
"""

_ZSH = r"""
__shoal_machine_complete() {
    local -a program rest found
    program=(${words[1]:t}) rest=(${words[2,CURRENT-1]})
    if [[ ${words[1]:t} == shoal ]]; then
        [[ $CURRENT -gt 2 && ${words[2]} == machine ]] || { _files; return }
        program+=(machine) rest=(${words[3,CURRENT-1]})
    fi
    rest=(${rest:#-*})
    found=(${(f)"$(command $program completion --words "${rest[1]}" "${words[CURRENT]}" 2>/dev/null)"})
    compadd -a found || _files
}
(( $+functions[compdef] )) && compdef __shoal_machine_complete shoal docker-machine
"""

_FISH = r"""
function __shoal_machine_use
    set -l text (command $argv)
    or return
    string join \n $text | source
    if set -q DOCKER_MACHINE_NAME
        echo "Active machine: $DOCKER_MACHINE_NAME"
    else
        echo "No active machine"
    end
end
if not set -q DOCKER_MACHINE_WRAPPED; or test "$DOCKER_MACHINE_WRAPPED" = true
    function shoal
        if test "$argv[1]" = machine; and test "$argv[2]" = use
            __shoal_machine_use shoal machine env --shell fish $argv[3..]
        else
            command shoal $argv
        end
    end
    function docker-machine
        if test "$argv[1]" = use
            __shoal_machine_use docker-machine env --shell fish $argv[2..]
        else
            command docker-machine $argv
        end
    end
end
function __docker_machine_ps1
    set -q DOCKER_MACHINE_NAME; or return 0
    set -l state
    if test "$DOCKER_MACHINE_PS1_SHOWSTATUS" = true
        switch (command shoal machine status $DOCKER_MACHINE_NAME 2>/dev/null)
            case Running; set state ' R'
            case Stopping; set state ' R->S'
            case Starting; set state ' S->R'
            case Error Timeout; set state ' E'
            case '*'; set state ' S'
        end
    end
    printf ' [%s]' "$DOCKER_MACHINE_NAME$state"
end
function __shoal_machine_words
    set -l given (commandline -opc)
    set -l program (path basename $given[1])
    set -l rest $given[2..]
    if test "$program" = shoal
        test "$rest[1]" = machine; or return
        set program shoal machine
        set rest $rest[2..]
    end
    set -l command (string match --invert -- '-*' $rest)[1]
    command $program completion --words "$command" (commandline -ct) 2>/dev/null
end
complete -c docker-machine -a '(__shoal_machine_words)'
complete -c shoal -n '__fish_seen_subcommand_from machine' -a '(__shoal_machine_words)'
"""

SCRIPTS = {"bash": _POSIX + _BASH, "zsh": _POSIX + _ZSH, "fish": _FISH}

_NAMED = {
    "config", "env", "export", "inspect", "ip", "kill", "mount", "provision", "regenerate-certs", "restart", "rm",
    "scp", "ssh", "start", "status", "stop", "upgrade", "url", "use", "version",
}  # fmt: skip
_FLAGS = """
      --words   Print what can stand behind COMMAND and begins with WORD: for the scripts that this command prints
"""


def completion(session: Session, words: list[str]) -> int:
    """Print the script for a shell."""
    if words[:1] == ["--words"]:
        command, begun = (*words[1:3], "", "")[:2]
        sys.stdout.write("".join(f"{word}\n" for word in _words(session, command, begun)))
        return 0
    given = session.options(words, _FLAGS, "[bash|zsh|fish]")
    if len(given.args) > 1:
        raise UsageFault("Error: Expected one shell as an argument", session.typed)
    shell = given.args[0] if given.args else shells.detect(parents.names(), os.environ.get("SHELL"), windows=False)
    if shell not in SCRIPTS:
        raise MachineError(f'no completion for "{shell}": known are {", ".join(SCRIPTS)}')
    sys.stdout.write(SCRIPTS[shell].lstrip())
    return 0


def _words(session: Session, command: str, begun: str) -> list[str]:
    from shoal.cli.machine import COMMANDS

    if not command:
        found = list(COMMANDS)
    elif begun.startswith("-"):
        found = _flags(session, "env" if command == "use" else command)
    elif command == "help":
        found = list(COMMANDS)
    elif command in _NAMED:
        colon = ":" if command in ("scp", "mount") else ""
        found = [name + colon for name in session.store.names()]
    else:
        found = []
    return sorted(word for word in found if word.startswith(begun))


def _flags(session: Session, command: str) -> list[str]:
    """The long options of a command, from its own help."""
    import contextlib
    import io
    import re

    from shoal.cli.machine import main

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        main([command, "--help"], session.program)
    return re.findall(r"^ +(?:-\w, )?(--[\w-]+)", shown.getvalue(), re.MULTILINE)


def use(session: Session, words: list[str]) -> int:
    """What `use` is when the shell does not know it as a function."""
    del words
    raise MachineError(
        f"`use` changes your shell, which a program cannot do. Put this into your shell's startup file:\n"
        f'eval "$({session.program} completion)"\n(fish: {session.program} completion fish | source). '
        f"Or, for once: eval $({session.program} env NAME)"
    )


RUN = {"completion": completion, "use": use}
