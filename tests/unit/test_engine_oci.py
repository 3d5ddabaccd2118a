"""What crun is told about a container: pure rules of configuration, mounts, users, limits and capabilities."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.engine import defaults, device_filter, failures, limits, merge, mounts, oci, signals, users
from shoal.engine.cgroup import find_hierarchies
from shoal.engine.oci import Facts
from shoal.engine.selection import moment, updated
from shoal.engine.top import select
from shoal.engine.users import Identity
from shoal.model.container import Container, ContainerConfig, ContainerRestartPolicy, HostConfig, MountPoint
from shoal.model.errors import InvalidArgument
from shoal.model.swarm_spec import HealthConfig, Mount, Ulimit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n# comment\nbad:line\n12:x:77:78::/n:/\n"
GROUP = "root:x:0:\nweb:x:1001:\nextra:x:2000:other,web\n"


def container(config: ContainerConfig | None = None, host: HostConfig | None = None, **fields: object) -> Container:
    return Container(
        id="c" * 64, name="box", created=NOW, image_id="sha256:x", config=config or ContainerConfig(hostname="box"),
        host_config=host or HostConfig(), path="sh", args=["-c", "true"], **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def facts(**fields: object) -> Facts:
    return Facts(**{"rootfs": "/r", "folder": "/f", "identity": Identity(0, 0, [0], "/root"), **fields})  # type: ignore[arg-type]


def test_a_plain_container_is_dockers() -> None:
    """Without options: own pid, ipc, uts and mount namespaces, masked paths, and the three files of the network."""
    spec = oci.spec(container(), facts(netns="/n", capabilities=defaults.CAPABILITIES, seccomp="filter"))
    assert {n["type"] for n in spec["linux"]["namespaces"]} == {"mount", "pid", "ipc", "uts", "network"}
    assert {"type": "network", "path": "/n"} in spec["linux"]["namespaces"]
    assert spec["linux"]["maskedPaths"] == defaults.MASKED_PATHS
    assert spec["annotations"] == {"run.oci.seccomp_bpf_data": "filter"}
    assert spec["process"]["args"] == ["sh", "-c", "true"]
    assert spec["process"]["capabilities"]["effective"] == defaults.CAPABILITIES
    binds = {m["destination"]: m["source"] for m in spec["mounts"] if m["type"] == "bind"}
    assert binds == {"/etc/resolv.conf": "/f/resolv.conf", "/etc/hostname": "/f/hostname", "/etc/hosts": "/f/hosts"}
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in spec["process"]["env"]
    assert "HOME=/root" in spec["process"]["env"]


def test_host_modes_leave_namespaces_out() -> None:
    """`host` for pid, ipc and uts shares the host's; another container's are joined by path; no netns is the host's."""
    host = HostConfig(pid_mode="host", uts_mode="host", ipc_mode="container:x")
    spec = oci.spec(container(host=host), facts(namespaces={"ipc": "/proc/1/ns/ipc"}))
    assert spec["linux"]["namespaces"] == [{"type": "mount"}, {"type": "ipc", "path": "/proc/1/ns/ipc"}]
    with pytest.raises(InvalidArgument, match="invalid PID mode"):
        oci.spec(container(host=HostConfig(pid_mode="odd")), facts())


def test_only_root_has_capabilities_in_effect() -> None:
    """Another user gets the bounding set and nothing in effect, as execve would do."""
    spec = oci.spec(container(), facts(identity=Identity(5, 5, [], "/"), capabilities=["CAP_CHOWN"]))
    caps = spec["process"]["capabilities"]
    assert (caps["bounding"], caps["effective"], caps["permitted"]) == (["CAP_CHOWN"], [], [])


def test_init_ulimits_and_privileges() -> None:
    """`--init` goes before the command; ulimits and no-new-privileges arrive; privileged has no masks."""
    host = HostConfig(ulimits=[Ulimit(name="nproc", soft=-1, hard=-1)], security_opt=["no-new-privileges"])
    spec = oci.spec(container(host=host), facts(init="/usr/bin/catatonit"))
    assert spec["process"]["args"][:3] == ["/sbin/docker-init", "--", "sh"]
    assert {"type": "RLIMIT_NPROC", "soft": 2**64 - 1, "hard": 2**64 - 1} in spec["process"]["rlimits"]
    assert spec["process"]["noNewPrivileges"]
    free = oci.spec(container(host=HostConfig(privileged=True)), facts())
    assert free["linux"]["maskedPaths"] == []
    assert "ro" not in next(m for m in free["mounts"] if m["destination"] == "/sys")["options"]


def test_mounts_come_outer_first_and_replace_the_defaults() -> None:
    """A user's mount takes a default's place, and /a is mounted before /a/b."""
    points = [MountPoint(type="bind", source=f"/s{t}", destination=t, rw=False) for t in ("/a/b/c", "/a", "/dev/shm")]
    spec = oci.spec(container(mounts=points), facts())
    targets = [m["destination"] for m in spec["mounts"]]
    assert targets.index("/a") < targets.index("/a/b/c")
    assert targets.count("/dev/shm") == 1
    assert "ro" in spec["mounts"][targets.index("/a")]["options"]


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("", Identity(0, 0, [0], "/root")),
        ("web", Identity(1000, 1001, [1001, 2000], "/home/web")),
        ("1000", Identity(1000, 1001, [1001, 2000], "/home/web")),
        ("web:extra", Identity(1000, 2000, [2000], "/home/web")),
        ("4242", Identity(4242, 0, [0], "/")),
        ("4242:99", Identity(4242, 99, [99], "/")),
    ],
)
def test_users(user: str, wanted: Identity) -> None:
    """`user[:group]` by name or number, with the groups that list the user, and the home directory."""
    assert users.resolve(user, PASSWD, GROUP) == wanted


def test_unknown_users_and_groups() -> None:
    """A name that nobody has is refused in docker's words."""
    with pytest.raises(InvalidArgument, match="unable to find user nobody: no matching entries in passwd file"):
        users.resolve("nobody", PASSWD, GROUP)
    with pytest.raises(InvalidArgument, match="unable to find group none: no matching entries in group file"):
        users.resolve("web:none", PASSWD, GROUP)
    assert users.resolve("web", PASSWD, GROUP, ["99"]).groups == [99, 1001, 2000]


@given(st.text(), st.text(max_size=300), st.text(max_size=300))
def test_any_passwd_is_survived(user: str, passwd: str, group: str) -> None:
    """Whatever an image has in its passwd and group, the answer is an identity or a plain error."""
    try:
        identity = users.resolve(user, passwd, group)
    except InvalidArgument:
        return
    assert identity.uid >= 0


@pytest.mark.parametrize(
    ("asked", "image", "entrypoint", "command"),
    [
        (ContainerConfig(), ContainerConfig(cmd=["a"], entrypoint=["e"]), ["e"], ["a"]),
        (ContainerConfig(cmd=["b"]), ContainerConfig(cmd=["a"], entrypoint=["e"]), ["e"], ["b"]),
        (ContainerConfig(entrypoint=["x"]), ContainerConfig(cmd=["a"], entrypoint=["e"]), ["x"], []),
        (ContainerConfig(entrypoint=[""], cmd=["b"]), ContainerConfig(cmd=["a"], entrypoint=["e"]), None, ["b"]),
        (ContainerConfig(cmd="one"), ContainerConfig(), None, ["one"]),
    ],
)
def test_commands_are_merged(
    asked: ContainerConfig, image: ContainerConfig, entrypoint: list[str] | None, command: list[str]
) -> None:
    """An own entrypoint drops the image's command; an own command keeps the image's entrypoint."""
    merged = merge.merge(asked, image)
    assert (merged.entrypoint, merged.cmd) == (entrypoint, command)


def test_the_rest_is_merged() -> None:
    """Variables, labels, ports and health checks of the image are kept where the user says nothing."""
    image = ContainerConfig(
        env=["A=1", "B=2"], labels={"x": "image", "y": "image"}, exposed_ports={"80/tcp": {}}, user="web",
        healthcheck=HealthConfig(test=["CMD", "a"], interval=5, retries=2),
    )  # fmt: skip
    asked = ContainerConfig(env=["B=3", "C=4"], labels={"x": "mine"}, healthcheck=HealthConfig(retries=7))
    merged = merge.merge(asked, image)
    assert merged.env == ["A=1", "B=3", "C=4"]
    assert merged.labels == {"x": "mine", "y": "image"}
    assert (merged.user, list(merged.exposed_ports)) == ("web", ["80/tcp"])
    assert merged.healthcheck == HealthConfig(test=["CMD", "a"], interval=5, retries=7)


def test_capabilities() -> None:
    """Add and drop by name with or without CAP_, ALL on either side, unknown ones refused."""
    assert defaults.capabilities([], []) == defaults.CAPABILITIES
    assert defaults.capabilities(["NET_ADMIN"], ["all"]) == ["CAP_NET_ADMIN"]
    everything = defaults.capabilities(["ALL"], ["CAP_SYS_ADMIN"])
    assert "CAP_SYS_ADMIN" not in everything and len(everything) == len(defaults.ALL_CAPABILITIES) - 1
    with pytest.raises(InvalidArgument):
        defaults.capabilities([], ["FLY"])


@pytest.mark.parametrize(
    ("text", "kind", "source", "target", "read_only"),
    [
        ("/a:/b", "bind", "/a", "/b", False),
        ("/a/../c:/b/:ro", "bind", "/c", "/b", True),
        ("name:/b:rw", "volume", "name", "/b", False),
        ("/only", "volume", "", "/only", False),
    ],
)
def test_binds(text: str, kind: str, source: str, target: str, read_only: bool) -> None:
    """`-v` in all its forms."""
    planned = mounts.parse_bind(text)
    assert (planned.kind, planned.source, planned.target, planned.read_only) == (kind, source, target, read_only)


@pytest.mark.parametrize("text", ["", ":", "a:b", "/a:/", "./x:/b", "/a:/b:odd", "/a:/b:ro:rw", "name:/b:rshared"])
def test_bad_binds(text: str) -> None:
    """What is no bind is refused."""
    with pytest.raises(InvalidArgument):
        mounts.parse_bind(text)


@given(st.text(max_size=40))
def test_any_bind_is_planned_or_refused(text: str) -> None:
    """No text makes the parser fail in another way, and a planned target is absolute and clean."""
    try:
        planned = mounts.parse_bind(text)
    except InvalidArgument:
        return
    assert planned.target.startswith("/") and ".." not in planned.target.split("/")


def test_mount_plan() -> None:
    """Own mounts win over the image's volumes and over inherited ones; the same target twice is refused."""
    config = ContainerConfig(volumes={"/data": {}, "/other": {}})
    inherited = [
        MountPoint(type="volume", name="v", destination="/data"),
        MountPoint(type="bind", source="/s", destination="/i"),
    ]
    plan = mounts.plan(config, HostConfig(binds=["/mine:/data"]), inherited)
    assert [(p.kind, p.source, p.target) for p in plan] == [
        ("bind", "/mine", "/data"), ("bind", "/s", "/i"), ("volume", "", "/other"),
    ]  # fmt: skip
    twice = HostConfig(binds=["/a:/x"], mounts=[Mount(type="tmpfs", target="/x")])
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /x"):
        mounts.plan(config, twice)


def test_limits_in_both_generations() -> None:
    """CPU, memory with docker's swap default, and processes, in the files of cgroup v1 and v2."""
    host = HostConfig(nano_cpus=1_500_000_000, memory=100 << 20, pids_limit=-1, cpu_shares=1024)
    v1 = {name: value for _, name, value in limits.files_v1(host)}
    assert v1["cpu.cfs_quota_us"] == "150000" and v1["pids.max"] == "max"
    assert v1["memory.memsw.limit_in_bytes"] == str(200 << 20)
    v2 = {name: value for _, name, value in limits.files_v2(host)}
    assert v2["cpu.max"] == "150000 100000" and v2["cpu.weight"] == "39"
    assert (v2["memory.max"], v2["memory.swap.max"]) == (str(100 << 20), str(100 << 20))


def test_update_changes_what_is_set() -> None:
    """`update` changes the limits and the policy that are given, nothing else, and checks the result."""
    host = HostConfig(memory=64 << 20, cpu_shares=5, binds=["/a:/b"])
    changed = updated(host, HostConfig(cpu_shares=7, restart_policy=ContainerRestartPolicy(name="always")))
    assert (changed.memory, changed.cpu_shares, changed.restart_policy.name) == (64 << 20, 7, "always")
    assert changed.binds == host.binds
    with pytest.raises(InvalidArgument):
        updated(HostConfig(auto_remove=True), HostConfig(restart_policy=ContainerRestartPolicy(name="always")))


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("sigkill", 9), ("1", 1), ("RTMIN+2", 36)])
def test_signals(text: str, number: int) -> None:
    """Names with and without SIG, numbers, real-time signals."""
    assert signals.parse(text) == number


@pytest.mark.parametrize("text", ["", "SIGNOPE", "0", "65", "-1"])
def test_bad_signals(text: str) -> None:
    """What is no signal is refused in docker's words."""
    with pytest.raises(InvalidArgument, match="invalid signal"):
        signals.parse(text)


@pytest.mark.parametrize(
    ("message", "code", "part"),
    [
        ("executable file `nope` not found in $PATH: No such file or directory", 127, "executable file not found in $PATH"),
        ("executable file `/x/y` not found in $PATH: No such file or directory", 127, "no such file or directory"),
        ("open executable: Permission denied", 126, "permission denied"),
        ("exec x: Exec format error", 126, "exec format error"),
        ("mount `proc` to `/proc`: Invalid argument", 128, "mount `proc`"),
        ("", 128, "unknown failure"),
    ],
)  # fmt: skip
def test_failures_in_dockers_words(message: str, code: int, part: str) -> None:
    """crun's complaints become docker's sentence and exit code."""
    failure = failures.explain(message, "cmd")
    assert failure.code == code
    assert part in failure.text


def test_hierarchies_are_found() -> None:
    """v1 controllers, a named hierarchy and a v2 tree are told apart, shared mounts included."""
    text = (
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    found = {name: str(path) for name, path in find_hierarchies(text).items()}
    shared = "/sys/fs/cgroup/cpu,cpuacct"
    assert found == {"cpu": shared, "cpuacct": shared, "name=systemd": "/sys/fs/cgroup/systemd",
                     "unified": "/sys/fs/cgroup/unified"}  # fmt: skip


def test_device_program_ends_in_no() -> None:
    """Every jump of the assembled program stays inside it, and what no rule allows is refused at its end."""
    code = device_filter.assemble([*defaults.DEVICE_RULES, "b 8:* r"])
    lines = [code[i : i + 8] for i in range(0, len(code), 8)]
    for index, line in enumerate(lines):
        jump = int.from_bytes(line[2:4], "little") if line[0] in (0x55, 0x5D) else 0
        assert index + jump < len(lines)
    assert lines[-2:] == [bytes([0xB4, 0, 0, 0, 0, 0, 0, 0]), bytes([0x95, 0, 0, 0, 0, 0, 0, 0])]


def test_top_keeps_the_containers_rows() -> None:
    """Only rows whose PID is the container's are kept; the last column may have blanks."""
    text = "UID   PID CMD\nroot   10 sleep 5\nroot   11 sh -c 'a b'\n"
    assert select(text, {11}).processes == [["root", "11", "sh -c 'a b'"]]
    with pytest.raises(InvalidArgument, match="PID"):
        select("CMD\nsh\n", {1})


def test_moments() -> None:
    """A time is a duration ago, RFC 3339 or seconds since 1970."""
    assert moment("24h", NOW) == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment("2026-01-02T00:00:00Z", NOW) == NOW
    assert moment("0", NOW) == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidArgument):
        moment("yesterday", NOW)
