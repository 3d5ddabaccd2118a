"""The client side on macOS and Windows: everything of it imports there, and handles paths as they are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import importlib, os, pkgutil, signal, sys
# What the standard library and what we build on need of the true system, before it is hidden from us.
import asyncio, concurrent.futures, ctypes, ctypes.util, getpass, http.client, http.server, logging, multiprocessing, pathlib
import select, shutil, socket, ssl, subprocess, tarfile, tempfile, threading, urllib.request, zipfile, gzip, importlib.metadata
import xml.etree.ElementTree, uuid, platform, hmac, email, lzma, bz2, queue
import cryptography.x509, cryptography.hazmat.primitives.serialization, msgspec, yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
BLOCKED = {blocked!r}
PLATFORM = {platform!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " does not exist on " + PLATFORM)
sys.meta_path.insert(0, Blocker())
for name in list(sys.modules):
    if name.partition(".")[0] in BLOCKED:
        del sys.modules[name]
for module, names in (({os_names!r}, os), ({signal_names!r}, signal), ({socket_names!r}, socket)):
    for name in module:
        if hasattr(names, name):
            delattr(names, name)
sys.platform = PLATFORM
count = 0
for package in ("shoal.cli", "shoal.machine", "shoal.stack", "shoal.ui", "shoal.model", "shoal.api.client", "shoal.kit.gotemplate"):
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(found, "__path__", []), package + "."):
        if not module.name.startswith({ours!r}):
            importlib.import_module(module.name)
            count += 1
assert count > 100, count
{then}
"""
LINUX_ONLY = [
    "pyroute2",
    "uvloop",
    "aiohttp",
    "grpclib",
    "google",
    "dns",
    "zstandard",
    "spwd",
    "crypt",
    "posix_ipc",
    "prctl",
]
EXTRAS = ["asyncssh", "libcloud", "keyring", "paramiko"]
WINDOWS = {
    "platform": "win32",
    "blocked": [*LINUX_ONLY, *EXTRAS, "fcntl", "pwd", "grp", "termios", "tty", "pty", "resource", "syslog", "curses", "readline"],
    "os_names": ["fork", "forkpty", "geteuid", "getuid", "getgid", "getegid", "setuid", "setgid", "getpgid", "getpgrp", "setsid",
                 "setpgid", "killpg", "mkfifo", "mknod", "chown", "lchown", "fchown", "fchmod", "chroot", "uname", "openpty", "wait",
                 "waitid", "wait3", "wait4", "WNOHANG", "WIFEXITED", "posix_spawn", "posix_spawnp", "pidfd_open", "setns", "unshare",
                 "sched_getaffinity", "sched_setaffinity", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_PATH", "O_NONBLOCK", "pipe2",
                 "SEEK_DATA", "SEEK_HOLE", "sendfile", "splice", "statvfs", "getloadavg", "sysconf", "major", "minor", "makedev",
                 "nice", "sync", "ttyname", "memfd_create", "eventfd", "copy_file_range", "posix_fallocate", "getxattr", "setxattr"],
    "signal_names": ["SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGWINCH", "SIGQUIT", "SIGSTOP", "SIGCONT", "SIGALRM",
                     "SIGPIPE", "SIGTSTP", "pthread_sigmask", "sigwait", "alarm", "setitimer", "siginterrupt"],
    "socket_names": ["AF_UNIX", "AF_NETLINK", "AF_PACKET", "SO_PEERCRED", "SO_REUSEPORT", "SO_BINDTODEVICE", "socketpair_unix",
                     "send_fds", "recv_fds", "AF_VSOCK", "SCM_RIGHTS"],
}  # fmt: skip
MACOS = {
    "platform": "darwin",
    "blocked": [*LINUX_ONLY, *EXTRAS, "spwd"],
    "os_names": ["pidfd_open", "setns", "unshare", "sched_getaffinity", "sched_setaffinity", "O_PATH", "pipe2", "splice", "memfd_create",
                 "eventfd", "copy_file_range", "posix_fallocate", "getxattr", "setxattr", "O_TMPFILE"],
    "signal_names": ["SIGRTMIN", "SIGRTMAX", "SIGPWR", "sigtimedwait", "sigwaitinfo"],
    "socket_names": ["AF_NETLINK", "AF_PACKET", "SO_PEERCRED", "SO_BINDTODEVICE", "AF_VSOCK"],
}  # fmt: skip
OURS = ("shoal.machine.local.",)
"""Machines that are namespaces are Linux's alone: `driver_class` refuses elsewhere before it imports them."""


def run(system: dict[str, object], then: str = "") -> str:
    code = CODE.format(**system, ours=OURS, then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("system", [WINDOWS, MACOS], ids=["win32", "darwin"])
def test_everything_of_the_client_imports(system: dict[str, object]) -> None:
    """Every module of cli, machine, stack, ui, model and the API client imports without what that system has not."""
    run(system)


@pytest.mark.parametrize("system", [WINDOWS, MACOS], ids=["win32", "darwin"])
def test_commands_start_there(system: dict[str, object]) -> None:
    """Help, an empty list, the syntax of a shell and an unknown driver work there; local machines are refused."""
    then = """
import tempfile
from shoal.cli.machine import main
with tempfile.TemporaryDirectory() as folder:
    for words, code in ((["help"], 0), (["ls"], 0), (["env", "-u"], 0), (["env", "-u", "--shell", "powershell"], 0),
                        (["create", "-d", "local", "m"], 1), (["create", "-d", "nosuch", "m"], 1), (["create", "--help"], 0),
                        (["create", "-d", "hyperv", "--help"], 0), (["create", "-d", "generic", "--help"], 0)):
        assert main(["-s", folder, *words], "docker-machine") == code, words
"""
    said = run(system, then)
    assert "--virtualbox-memory" in said
    assert "--hyperv-virtual-switch" in said
    assert "--generic-ip-address" in said


def test_locks_there() -> None:
    """On Windows a lock is held with msvcrt: one process waits until the other lets go."""
    then = """
import types, pathlib, tempfile, errno
held, asked = set(), []
msvcrt = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK = 2
def locking(descriptor, mode, size):
    asked.append(descriptor)
    if len(asked) < 3:
        raise OSError(errno.EACCES, "somebody else has it")
msvcrt.locking = locking
sys.modules["msvcrt"] = msvcrt
from shoal.machine.files import locked, write_atomic
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "locks", "x")
    with locked(path):
        assert len(asked) == 3
    write_atomic(pathlib.Path(folder, "f"), b"a\\n")
    assert pathlib.Path(folder, "f").read_bytes() == b"a\\n"
"""
    run(WINDOWS, then)


def test_paths_of_windows() -> None:
    """A store of Windows on Windows: its default place, moved drives, and ssh's and scp's arguments."""
    then = """
from pathlib import PureWindowsPath
from shoal.machine import ssh
from shoal.machine.driver import SshEndpoint
from shoal.machine.record import AuthOptions, HostOptions, Record
from shoal.machine.store import location, rebase
assert location({"USERPROFILE": "C:\\\\Users\\\\Sam S"}, None, windows=True) == "C:\\\\Users\\\\Sam S\\\\.docker\\\\machine"
old, new = "C:\\\\Users\\\\sam\\\\.docker\\\\machine", PureWindowsPath("D:\\\\m")
auth = AuthOptions(cert_dir=old + "\\\\certs", ca_cert_path=old.lower() + "\\\\certs\\\\ca.pem", store_path=old + "\\\\machines\\\\a")
record = Record(name="a", driver={"StorePath": old, "SSHKeyPath": old + "\\\\machines\\\\a\\\\id_rsa", "Other": "C:\\\\x"},
                host_options=HostOptions(auth_options=auth))
moved = rebase(record, new, "a")
assert moved.driver == {"StorePath": "D:\\\\m", "SSHKeyPath": "D:\\\\m\\\\machines\\\\a\\\\id_rsa", "Other": "C:\\\\x"}, moved.driver
assert moved.host_options.auth_options.ca_cert_path == "D:\\\\m\\\\certs\\\\ca.pem"
unixed = rebase(Record(name="a", driver={"StorePath": "/home/s", "SSHKeyPath": "/home/s/machines/a/id"}), new, "b")
assert unixed.driver["SSHKeyPath"] == "D:\\\\m\\\\machines\\\\b\\\\id"
key = PureWindowsPath("C:\\\\Users\\\\Sam S\\\\id")
chosen = ssh.options(SshEndpoint("1.2.3.4", 22, "root", key, None, "a"))
assert chosen["IdentityFile"] == '"C:/Users/Sam S/id"', chosen
assert ssh.parse_location("C:\\\\Users\\\\x", lambda name: False).machine == ""
assert ssh.parse_location("m1:C", lambda name: True) == ("m1", "C", "")
"""
    run(WINDOWS, then)


def test_named_pipes_are_refused() -> None:
    """An address that is a named pipe is refused in words, and so is no address on Windows."""
    then = """
from shoal.api.client_address import AddressFault, from_environment
for environment, wanted in (({"DOCKER_HOST": "npipe:////./pipe/docker_engine"}, "named pipes are not supported"),
                            ({}, "shoal machine env")):
    try:
        from_environment(environment)
    except AddressFault as fault:
        assert wanted in str(fault), fault
    else:
        raise AssertionError(environment)
"""
    run(WINDOWS, then)
