"""What the command line may import, and how much."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = (
    "fcntl", "termios", "tty", "pty", "resource", "grp", "pwd", "syslog", "posix_ipc", "spwd", "crypt", "aiohttp",
    "uvloop", "grpclib",
)  # fmt: skip

ELSEWHERE = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} exists on Linux only")
sys.meta_path.insert(0, Blocker())
for name in {BLOCKED!r}:
    sys.modules.pop(name, None)
import importlib, pkgutil
for package in ("shoal.kit.gotemplate", "shoal.model", "shoal.api.client", "shoal.ui", "shoal.stack", "shoal.cli"):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), package + "."):
        importlib.import_module(found.name)
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cli_imports_nothing_of_linux() -> None:
    """The command line, stacks, terminal views, the client and the model import where Linux's modules do not exist."""
    run(ELSEWHERE)


def test_cli_client_imports_no_server() -> None:
    """The client imports nothing of the server, and nothing heavy: a quick command stays quick."""
    heavy = ("aiohttp", "asyncio", "msgspec", "http.client", "ssl", "email", "yaml", "dataclasses", "click", "rich")
    code = f"import shoal.api.client, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert run(code).strip() == "[]"


def test_cli_node_ls_imports_little() -> None:
    """`node ls` loads its own module and no other command's."""
    code = """
import sys
from shoal.cli.main import load
load("node ls")
print([name for name in sys.modules if name in ("msgspec", "yaml", "click", "rich", "asyncio", "ssl", "dataclasses")])
"""
    assert run(code).strip() == "[]"
