"""The official docker CLI and docker-py against a real daemon: containers, images, volumes, networks, events."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import docker.errors
import pytest

from tests.system.api_daemon import CLI, IMAGE, Daemon, daemon, registry
from tests.waiting import until_sync

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def shoal() -> Iterator[Daemon]:
    with daemon() as one:
        yield one


def test_version_and_info(shoal: Daemon) -> None:
    """`docker version` and `docker info` print what the daemon is, without warnings about missing parts."""
    assert shoal.docker("version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}").strip() == "1.50 linux"
    info = json.loads(shoal.docker("info", "--format", "{{json .}}"))
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["Name"] == "api-host"
    assert info["NCPU"] >= 1
    assert info["ID"]


def test_run_passes_output_errors_and_exit_code(shoal: Daemon) -> None:
    """`docker run` shows both streams apart and ends with the container's exit code."""
    done = shoal.try_docker("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_run_passes_input_and_its_end(shoal: Daemon) -> None:
    """`... | docker run -i`: every byte goes in, the end of the input is seen, every byte comes out."""
    data = os.urandom(2_000_000)
    done = shoal.try_docker("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo the end", input=data)
    assert done.stdout == data + b"the end\n"


def test_commands_that_cannot_run(shoal: Daemon) -> None:
    """125, 126 and 127 as docker has them, and the words that people search for."""
    missing = shoal.try_docker("run", "--rm", IMAGE, "nosuch")
    assert missing.returncode == 127
    assert b"executable file not found in $PATH" in missing.stderr
    assert shoal.try_docker("run", "--rm", IMAGE, "/etc/plain").returncode == 126
    unknown = shoal.try_docker("inspect", "--type", "container", "nosuch")
    assert b"No such container: nosuch" in unknown.stderr


def test_a_container_from_start_to_removal(shoal: Daemon) -> None:
    """create, start, ps, inspect, exec, logs, pause, rename, stop, wait, rm."""
    shoal.docker("create", "--name", "life", "--label", "a=b", IMAGE, "sh", "-c", "echo hello; exec sleep 1000")
    assert "Created" in shoal.docker("ps", "-a", "--filter", "name=^life$", "--format", "{{.Status}}")
    shoal.docker("start", "life")
    assert shoal.docker("ps", "--filter", "label=a=b", "--format", "{{.Names}} {{.Image}}").split() == ["life", IMAGE]
    until_sync(lambda: shoal.docker("logs", "life") == "hello\n")
    assert shoal.docker("exec", "-i", "life", "cat", input="through exec") == "through exec"
    assert shoal.try_docker("exec", "life", "sh", "-c", "exit 9").returncode == 9
    shoal.docker("pause", "life")
    assert "(Paused)" in shoal.docker("ps", "--filter", "name=life", "--format", "{{.Status}}")
    shoal.docker("unpause", "life")
    assert "sleep 1000" in shoal.docker("top", "life")
    shoal.docker("rename", "life", "life2")
    shoal.docker("update", "--memory", "64m", "--memory-swap", "64m", "life2")
    assert shoal.docker("inspect", "-f", "{{.HostConfig.Memory}}", "life2").strip() == str(64 << 20)
    conflict = shoal.try_docker("rm", "life2")
    assert b"container is running: stop the container before removing or force remove" in conflict.stderr
    shoal.docker("kill", "--signal", "KILL", "life2")
    assert shoal.docker("wait", "life2").strip() == "137"
    assert "Exited (137)" in shoal.docker("ps", "-a", "--filter", "name=life2", "--format", "{{.Status}}")
    shoal.docker("rm", "life2")
    assert shoal.docker("ps", "-aq", "--filter", "name=life") == ""


def test_logs(shoal: Daemon) -> None:
    """tail, timestamps, since and both streams; following ends with the container."""
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; read x; echo last"
    shoal.docker("run", "-di", "--name", "logs", IMAGE, "sh", "-c", script)
    until_sync(lambda: shoal.docker("logs", "logs").count("\n") == 3)
    with subprocess.Popen(shoal.host.enter(CLI, "attach", "logs"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env=shoal.environment()) as client:  # fmt: skip
        assert client.communicate(b"go\n", timeout=60)[0] == b"last\n"
    done = shoal.try_docker("logs", "-f", "logs")
    assert done.stdout == b"out 1\nout 2\nout 3\nlast\n"
    assert done.stderr == b"err 1\nerr 2\nerr 3\n"
    assert shoal.docker("logs", "--tail", "1", "logs") == "last\n"
    stamp, text = shoal.docker("logs", "-t", "--tail", "1", "logs").split(" ", 1)
    assert text == "last\n"
    assert len(stamp) == len("2006-01-02T15:04:05.000000000Z")
    assert shoal.docker("logs", "--since", "2030-01-01T00:00:00Z", "logs") == ""
    shoal.docker("rm", "logs")


def test_attach_shows_what_comes_and_detaching_leaves_it_running(shoal: Daemon) -> None:
    """`docker attach` shows output from now on; a client that is gone does not end the container."""
    shoal.docker("run", "-d", "--name", "att", IMAGE, "sh", "-c", "while true; do echo tick; sleep 0.1; done")
    command = shoal.host.enter(CLI, "attach", "--no-stdin", "--sig-proxy=false", "att")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=shoal.environment()) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"tick\n"
        client.kill()
    assert shoal.docker("inspect", "-f", "{{.State.Running}}", "att").strip() == "true"
    shoal.docker("rm", "-f", "att")


def test_wait_answers_with_headers_before_the_end(shoal: Daemon) -> None:
    """The headers of `wait` come at once: `docker run` does not start the container before it has them."""
    shoal.docker("create", "--name", "waits", IMAGE, "true")
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(shoal.socket))
        link.sendall(b"POST /v1.50/containers/waits/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n")
        assert link.recv(1000).startswith(b"HTTP/1.1 200 OK")
        shoal.docker("start", "waits")
        assert b'"StatusCode":0' in link.recv(1000)
    shoal.docker("rm", "waits")


def test_published_ports(shoal: Daemon) -> None:
    """`-p` opens a port on the host, `docker port` and `ps` show it, and a taken one is refused in docker's words."""
    serve = "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nserved' | nc -l -p 80; done"
    shoal.docker("run", "-d", "--name", "web", "-p", "127.0.0.1:18080:80", IMAGE, "sh", "-c", serve)
    assert shoal.docker("port", "web").strip() == "80/tcp -> 127.0.0.1:18080"
    assert "127.0.0.1:18080->80/tcp" in shoal.docker("ps", "--filter", "name=web", "--format", "{{.Ports}}")
    fetch = shoal.host.enter("curl", "-s", "-m", "2", "http://127.0.0.1:18080/")
    until_sync(lambda: subprocess.run(fetch, capture_output=True, check=False).stdout == b"served")
    taken = shoal.try_docker("run", "--rm", "-p", "127.0.0.1:18080:80", IMAGE, "true")
    assert taken.returncode == 125
    assert b"port is already allocated" in taken.stderr
    shoal.docker("rm", "-f", "web")


def test_networks_give_names(shoal: Daemon) -> None:
    """Containers on a network of the user's find each other by name; a network in use is not removed."""
    shoal.docker("network", "create", "--label", "x=y", "lan")
    shoal.docker("run", "-d", "--name", "peer", "--network", "lan", IMAGE, "sleep", "1000")
    entry = json.loads(shoal.docker("network", "inspect", "lan"))[0]
    assert [one["Name"] for one in entry["Containers"].values()] == ["peer"]
    assert entry["Labels"] == {"x": "y"}
    hosts = shoal.docker("run", "--rm", "--network", "container:peer", IMAGE, "hostname").strip()
    assert hosts
    refused = shoal.try_docker("network", "rm", "lan")
    assert b"has active endpoints" in refused.stderr
    predefined = shoal.try_docker("network", "rm", "bridge")
    assert b"bridge is a pre-defined network and cannot be removed" in predefined.stderr
    shoal.docker("network", "connect", "bridge", "peer")
    joined = json.loads(shoal.docker("inspect", "peer"))[0]["NetworkSettings"]["Networks"]
    assert sorted(joined) == ["bridge", "lan"]
    shoal.docker("rm", "-f", "peer")
    shoal.docker("network", "rm", "lan")


def test_volumes(shoal: Daemon) -> None:
    """A volume keeps data between containers; one in use is not removed."""
    shoal.docker("volume", "create", "--label", "k=v", "keep")
    shoal.docker("run", "--rm", "-v", "keep:/data2", IMAGE, "sh", "-c", "echo kept > /data2/file")
    shoal.docker("create", "--name", "user", "-v", "keep:/data2", IMAGE, "cat", "/data2/file")
    assert shoal.docker("start", "-a", "user") == "kept\n"
    assert b"volume is in use" in shoal.try_docker("volume", "rm", "keep").stderr
    assert shoal.docker("volume", "ls", "-q", "--filter", "dangling=true") == ""
    shoal.docker("rm", "user")
    shoal.docker("volume", "rm", "keep")
    assert b"no such volume" in shoal.try_docker("volume", "inspect", "keep").stderr.lower()


def test_volumes_with_options(shoal: Daemon) -> None:
    """`volume create -o`: shown by inspect, mounted in the container, refused when it makes no sense."""
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=64m")
    shoal.docker("volume", "create", *options, "memory")
    shown = json.loads(shoal.docker("volume", "inspect", "memory"))[0]
    assert shown["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=64m"}
    assert "size=65536k" in shoal.docker("run", "--rm", "-v", "memory:/m", IMAGE, "grep", " /m ", "/proc/mounts")
    assert b'invalid option: "foo"' in shoal.try_docker("volume", "create", "-o", "foo=bar", "odd").stderr
    shoal.docker("volume", "rm", "memory")


def test_options_are_honoured_or_refused(shoal: Daemon) -> None:
    """What the command line sends and Shoal has not is refused by name; the old form of --mac-address counts."""
    for option, words in (
        ("--gpus=all", 'could not select device driver "" with capabilities: [[gpu]]'),
        ("--storage-opt=size=1G", "--storage-opt is supported only for"),
        ("--link=other", "--link is not supported"),
        ("--volume-driver=rexray", 'plugin "rexray" not found'),
        ("--isolation=hyperv", "linux only supports 'default'"),
    ):
        said = shoal.try_docker("run", "--rm", option, IMAGE, "true")
        assert (said.returncode, words in said.stderr.decode()) == (125, True), said.stderr
    for option in ("--userns=host", "--device-cgroup-rule=c 1:11 r"):
        shoal.docker("run", "--rm", option, IMAGE, "true")
    mac = "92:d0:c6:0a:29:33"
    shoal.docker("network", "create", "hardware")
    body = {"Image": IMAGE, "Cmd": ["cat", "/sys/class/net/eth0/address"], "MacAddress": mac,
            "HostConfig": {"NetworkMode": "hardware", "Annotations": {"a": "b"}}}  # fmt: skip
    api = shoal.client().api
    made = api._result(api._post_json(api._url("/containers/create"), data=body), json=True)
    assert shoal.docker("inspect", "-f", "{{json .HostConfig.Annotations}}", made["Id"]).strip() == '{"a":"b"}'
    assert shoal.docker("start", "-a", made["Id"]).strip() == mac
    shoal.docker("rm", made["Id"])
    shoal.docker("network", "rm", "hardware")
    assert b"--ipv6 is not supported" in shoal.try_docker("network", "create", "--ipv6", "six").stderr


def test_images_are_tagged_saved_loaded_and_removed(shoal: Daemon, tmp_path: Path) -> None:
    """tag, images, history, save, load, rmi; an image in use is not removed."""
    shoal.docker("tag", IMAGE, "cafe:1")
    archive = tmp_path / "cafe.tar"
    archive.write_bytes(shoal.try_docker("save", "cafe:1").stdout)
    assert shoal.docker("rmi", "cafe:1").strip() == "Untagged: cafe:1"
    assert shoal.docker("load", "-i", str(archive)).strip() == "Loaded image: cafe:1"
    assert shoal.docker("images", "-q", "cafe").strip()
    assert shoal.docker("history", "-q", "cafe:1").strip()
    id = shoal.docker("images", "-q", "cafe").strip()
    shoal.docker("create", "--name", "holds", "cafe:1", "true")
    assert b"conflict" in shoal.try_docker("rmi", id).stderr
    shoal.docker("rm", "holds")
    shoal.docker("rmi", "cafe:1")
    assert b"No such image: cafe:1" in shoal.try_docker("rmi", "cafe:1").stderr


def test_events_tell_the_story_of_a_container(shoal: Daemon) -> None:
    """A run is create, attach, start, die, destroy; filters choose."""
    since = datetime.now(UTC).isoformat()
    shoal.docker("run", "--rm", "--name", "story", IMAGE, "true")
    until = time.time() + 0.2
    text = shoal.docker(
        "events", "--since", since, "--until", f"{until:.6f}", "--filter", "container=story", "--format", "{{.Action}}"
    )
    story = [action for action in text.split() if action != "attach"]
    assert story == ["create", "start", "die", "destroy"]


def test_prune_and_disk_use(shoal: Daemon) -> None:
    """`system df` counts, `system prune` removes what is unused and nothing else."""
    shoal.docker("run", "--name", "ended", IMAGE, "true")
    assert "Images" in shoal.docker("system", "df")
    assert "Deleted Containers" in shoal.docker("system", "prune", "-f")
    assert IMAGE in shoal.docker("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert shoal.docker("ps", "-aq", "--filter", "name=ended") == ""


def test_stats(shoal: Daemon) -> None:
    """`docker stats` shows memory and processes."""
    shoal.docker("run", "-d", "--name", "busy", IMAGE, "sleep", "1000")
    row = shoal.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "busy").split()
    assert row == ["busy", "1"]
    shoal.docker("rm", "-f", "busy")


def test_output_does_not_come_together_with_the_headers(shoal: Daemon) -> None:
    """docker-py reads headers through a buffer that it then leaves: however late it reads, output comes separately."""
    shoal.docker("run", "-d", "--name", "late", IMAGE, "sleep", "1000")
    api = shoal.client().api
    id = api.exec_create("late", ["echo", "hi"])["Id"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(shoal.socket))
        client.sendall(f"POST /v1.43/exec/{id}/start HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until_sync(lambda: api.exec_inspect(id)["ExitCode"] == 0)
        first = client.recv(65536)
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert first.endswith(b"\r\n\r\n")
        assert client.recv(65536) == b"\x01\0\0\0\0\0\0\x03hi\n"
    shoal.docker("rm", "-f", "late")


def test_an_end_with_input_unread_is_no_broken_connection(shoal: Daemon) -> None:
    """A process that does not want all of its input: its exit code and its last words arrive, from exec and from run."""
    shoal.docker("run", "-d", "--name", "early", IMAGE, "sleep", "1000")
    much = bytes(20 << 20)
    for words in (["exec", "-i", "early"], ["run", "--rm", "-i", IMAGE]):
        done = shoal.try_docker(*words, "sh", "-c", "echo enough; exit 7", input=much)
        assert (done.returncode, done.stdout, done.stderr) == (7, b"enough\n", b"")
    shoal.docker("rm", "-f", "early")


def test_a_failed_pull_is_an_error_at_once(shoal: Daemon) -> None:
    """docker-py does not look at what comes after the status."""
    shoal.docker("tag", IMAGE, "127.0.0.1:1/old:latest")
    with pytest.raises(docker.errors.APIError, match="connection refused"):
        shoal.client().images.pull("127.0.0.1:1/old:latest")
    shoal.docker("rmi", "127.0.0.1:1/old:latest")


def test_requests_may_be_long(shoal: Daemon) -> None:
    """`docker save` of hundreds of images names them all in its request line."""
    done = shoal.try_docker("save", *(f"{'long' * 20}:{number}" for number in range(300)))
    assert b"No such image: longlong" in done.stderr


def test_docker_py(shoal: Daemon) -> None:
    """docker-py runs, attaches, executes, streams and cleans up."""
    client = shoal.client()
    assert client.ping()
    assert client.containers.run(IMAGE, "echo hi", remove=True) == b"hi\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run(IMAGE, ["sh", "-c", "exit 4"], remove=True)
    assert failed.value.exit_status == 4
    container = client.containers.run(IMAGE, "sleep 1000", detach=True, name="py")
    assert container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output == (b"o\n", b"e\n")
    container.reload()
    assert container.attrs["NetworkSettings"]["IPAddress"]
    assert container.top()["Processes"]
    assert "memory_stats" in container.stats(stream=False)
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("py")
    client.close()


def test_swarm_commands_off_a_swarm(shoal: Daemon) -> None:
    """Swarm commands on a machine in no swarm are answered in docker's words."""
    for command in (("node", "ls"), ("service", "ls"), ("secret", "ls"), ("stack", "ls")):
        done = shoal.try_docker(*command)
        assert done.returncode == 1
        assert b'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join"' in done.stderr
    assert b"This node is not part of a swarm" in shoal.try_docker("swarm", "leave").stderr


def test_a_second_daemon_on_the_same_data_is_refused(shoal: Daemon) -> None:
    """Two daemons never share a data root; the sentence says which process has it."""
    second = Daemon(shoal.host)
    second.socket = shoal.host.root / "second.sock"
    with pytest.raises(AssertionError, match=f"another shoald \\(process {shoal.pid}\\) uses the data root"):
        second.start()


def test_push_and_pull_with_a_password() -> None:
    """login, push, pull; a wrong password, no password and an unknown name are refused in docker's words."""
    with daemon(name="api-registry") as shoal, registry(shoal.host, "user", "secret") as host:
        name = f"{host}/team/app:1"
        shoal.docker("tag", IMAGE, name)
        assert b"authentication required" in shoal.try_docker("push", name).stderr
        wrong = shoal.try_docker("login", "-u", "user", "--password-stdin", host, input="wrong")
        assert b"401 Unauthorized" in wrong.stderr
        assert "Login Succeeded" in shoal.docker("login", "-u", "user", "--password-stdin", host, input="secret")
        assert "digest: sha256:" in shoal.docker("push", name)
        shoal.docker("rmi", name)
        assert f"Status: Image is up to date for {name}" in shoal.docker("pull", name)
        assert b"manifest unknown" in shoal.try_docker("pull", f"{host}/team/app:2").stderr
        shoal.docker("logout", host)
        denied = shoal.try_docker("pull", name)
        assert b"pull access denied" in denied.stderr


def test_stopping_and_killing_the_daemon_leaves_containers_running() -> None:
    """After SIGTERM and after SIGKILL the container runs on; the next daemon knows its output and its exit code."""
    with daemon() as shoal:
        shoal.docker(
            "run",
            "-d",
            "--name",
            "on",
            IMAGE,
            "sh",
            "-c",
            "i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i+1)); sleep 0.02; done",
        )
        pid = int(shoal.docker("inspect", "-f", "{{.State.Pid}}", "on"))
        assert shoal.stop() == 0
        assert not shoal.socket.exists()
        assert Path(f"/proc/{pid}").exists()
        shoal.start()
        assert shoal.stop(signal.SIGKILL) != 0
        assert Path(f"/proc/{pid}").exists()
        shoal.start()
        assert shoal.docker("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "on").split() == ["true", str(pid)]
        lines = [int(line) for line in shoal.docker("logs", "on").split()]
        assert lines == list(range(len(lines)))
        shoal.docker("kill", "on")
        assert shoal.docker("wait", "on").strip() == "137"
