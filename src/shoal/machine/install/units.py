"""What starts our engine on a machine: a systemd unit, or an init script that keeps it running; and its launcher.

The engine's flags and environment are in two files with a line each, so that nothing is ever quoted: the launcher
reads them. Guests of our machine image read the same two files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from shoal.machine.errors import MachineError
from shoal.machine.install.facts import MARKER

ARGUMENTS, ENVIRONMENT = "/etc/shoal/shoald.args", "/etc/shoal/shoald.env"
"""How the engine is run: one argument a line; `NAME=value` lines."""
LAUNCHER, SHUTDOWN = "/etc/shoal/engine", "/etc/shoal/engine-down"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOG = "/var/log/shoald.log"
SYSTEMD_UNIT, INIT_SCRIPT = "/etc/systemd/system/shoald.service", "/etc/init.d/shoald"

UNIT = f"""# {MARKER}. `shoal machine provision` writes it again.
[Unit]
Description=Shoal, which runs containers and swarms of them
After=network-online.target local-fs.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={LAUNCHER}
ExecReload=/bin/kill -HUP $MAINPID
ExecStopPost=-{SHUTDOWN}
# Containers outlive the daemon.
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
TimeoutStartSec=300
LimitNOFILE=1048576
LimitNPROC=infinity
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""

DOWN = f"""#!/bin/sh
# {MARKER}. `shoal machine provision` writes it again.
# When the machine goes down, and only then, its containers are ended: TERM, and KILL for those left after ten seconds.
[ "$(systemctl is-system-running)" = stopping ] || exit 0
processes() {{
    find /sys/fs/cgroup/shoal /sys/fs/cgroup/*/shoal -name cgroup.procs -exec cat {{}} + 2>/dev/null | sort -u
}}
kill -TERM $(processes) 2>/dev/null
for _ in $(seq 100); do [ -n "$(processes)" ] || exit 0; sleep 0.1; done
kill -KILL $(processes) 2>/dev/null
exit 0
"""

SCRIPT = f"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          shoald
# Required-Start:    $local_fs $remote_fs $network
# Required-Stop:     $local_fs $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Shoal, which runs containers and swarms of them
### END INIT INFO
# {MARKER}. `shoal machine provision` writes it again.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
record=/run/shoald-supervisor.pid

supervisor() {{
    read -r pid 2>/dev/null <$record && grep -q shoald-supervise "/proc/$pid/cmdline" 2>/dev/null
}}

# Starts shoald again whenever it ends. TERM ends both, HUP only shoald.
supervise() {{
    ulimit -n 1048576 2>/dev/null
    echo $$ >$record
    child= delay=0 ending=
    trap 'ending=yes; kill $child 2>/dev/null' TERM INT
    trap 'delay=0; kill $child 2>/dev/null' HUP
    while [ -z "$ending" ]; do
        sleep $delay & wait $!
        delay=1
        {LAUNCHER} </dev/null >>{LOG} 2>&1 &
        child=$!
        while kill -0 $child 2>/dev/null; do wait $child; done
    done
    rm -f $record
}}

begin() {{
    supervisor && return 0
    umask 022
    (cd / && setsid sh {INIT_SCRIPT} shoald-supervise </dev/null >/dev/null 2>&1 &)
    for _ in 1 2 3 4 5 6 7 8 9 10; do supervisor && return 0; sleep 0.1; done
    return 1
}}

end() {{
    supervisor || return 0
    kill "$pid"
    for _ in $(seq 300); do supervisor || return 0; sleep 0.1; done
    return 1
}}

case "$1" in
    start) begin ;;
    stop) end ;;
    restart|force-reload) if supervisor; then kill -HUP "$pid"; else begin; fi ;;
    status) supervisor || {{ echo "shoald does not run"; exit 3; }}; echo "shoald runs" ;;
    shoald-supervise) supervise ;;
    *) echo "Usage: $0 {{start|stop|restart|force-reload|status}}" >&2; exit 2 ;;
esac
"""


def launcher(engine: str) -> str:
    """The script that runs the program `engine` with the flags and the environment of the two files."""
    return f"""#!/bin/sh
# {MARKER}. `shoal machine provision` writes it again.
while IFS= read -r line; do export "$line"; done <{ENVIRONMENT}
set --
while IFS= read -r line; do set -- "$@" "$line"; done <{ARGUMENTS}
exec {engine} "$@"
"""


def settings(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, tuple[int, bytes]]:
    """The two files, with their modes. Raises MachineError for what they cannot hold."""
    return {
        ARGUMENTS: (0o600, lines(arguments).encode()),
        ENVIRONMENT: (0o600, environment_lines(environment).encode()),
    }


def lines(items: Sequence[str]) -> str:
    """Flags, a line each. Raises MachineError for one that has more lines than one."""
    for item in items:
        if "\n" in item or "\r" in item or "\0" in item:
            raise MachineError(f"an engine option cannot hold a line break: {item!r}")
    return "".join(f"{item}\n" for item in items)


def environment_lines(environment: Mapping[str, str]) -> str:
    """NAME=VALUE, a line each. Raises MachineError for what a shell's environment cannot hold."""
    for name in environment:
        if not _NAME.fullmatch(name):
            raise MachineError(f'invalid name of an environment variable: "{name}"')
    return lines([f"{name}={value}" for name, value in environment.items()])
