"""Figures that need two machines: the mesh's speed and evenness, and how soon a dead worker's tasks run elsewhere."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from functools import partial
from statistics import median

from demo.shell import Shell
from demo.workplace import Workplace, free_subnet, workplace

MESH_ROUNDS = 20
"""Pairs of measurements: single ones vary by a third on two cores."""
HTTPD = """-c 'CMD ["httpd","-f","-p","80","-h","/www"]' -c 'STOPSIGNAL SIGKILL'"""
REDIS = """-c 'CMD ["redis-server","--protected-mode","no","--save",""]'"""


def figures() -> list[tuple[str, float | str, float | str, str]]:
    """The rows of the table; dockerd's side is what its constants allow, or not possible here."""
    with workplace("", free_subnet("192.168.90")) as place:
        shell = place.shell(show=False)
        _swarm(place, shell)
        ratio = _mesh_ratio(shell)
        spread = _spread(place, shell)
        idle = [_memory(shell, name) for name in ("bench1", "bench2")]
        recovered = _recovery(shell)
    return [
        ("machine of a swarm: `shoald` as a manager, with etcd", idle[0], "", "MB"),
        ("machine of a swarm: `shoald` as a worker", idle[1], "", "MB"),
        ("keep-alive requests/s through the mesh against straight to the container", ratio, "needs ip_vs", ""),
        ("spread over 5 replicas on 2 machines", spread, "", ""),
        ("worker killed -> its tasks running elsewhere", recovered, 18.5, "s"),
    ]


def _swarm(place: Workplace, shell: Shell) -> None:
    shell.run("docker-machine create bench1")
    shell.run("docker-machine create bench2")
    said = shell.run(f"docker-machine ssh bench1 docker swarm init --advertise-addr {place.subnet}.101")
    join = re.search(r"docker swarm join --token \S+ \S+", said)
    assert join
    shell.run(f'docker-machine ssh bench2 "{join.group()}"')
    shell.run("./build >app.tar && ./redis/build >redis.tar")
    for name in ("bench1", "bench2"):
        shell.run(f"eval $(docker-machine env {name})")
        shell.run(f"docker import {HTTPD} app.tar app:1")
        shell.run(f"docker import {REDIS} redis.tar redis:1")
    shell.run("eval $(docker-machine env bench1)")


def _mesh_ratio(shell: Shell) -> float:
    """How fast PINGs are answered through the published port, against the container's address: the median of pairs."""
    create = "docker service create -d --no-resolve-image --name redis -p 6379:6379"
    shell.run(f"{create} --constraint node.hostname==bench1 redis:1")
    shell.until("docker service ls --format '{{.Replicas}}'", lambda out: out.strip() == "1/1")
    task = shell.run("docker ps -q --filter name=redis").split()[0]
    inspect = "docker inspect -f '{{range $name, $net := .NetworkSettings.Networks}}{{$net.IPAddress}} {{end}}' " + task
    address = shell.run(inspect).split()[0]
    direct = partial(_pings, shell, address)
    mesh = partial(_pings, shell, "127.0.0.1")
    ratios = []
    for turn in range(MESH_ROUNDS):
        # Neighbours in time, and each as often first: what else this computer does falls on both alike.
        first, second = (direct(), mesh()) if turn % 2 else (mesh(), direct())
        ratios.append(second / first if turn % 2 else first / second)
    shell.run("docker service rm redis")
    return median(ratios)


def _pings(shell: Shell, host: str) -> float:
    """Redis PINGs per second over 32 kept connections."""
    command = f"redis-benchmark -h {host} -t ping_mbulk -c 32 -n 30000 -q"
    out = shell.run(f'docker-machine ssh bench1 "{command}"')
    return max(float(rate) for rate in re.findall(r"([\d.]+) requests per second", out))


def _spread(place: Workplace, shell: Shell) -> str:
    """How often each of five replicas answers 500 requests, half to each machine."""
    shell.run("docker service create -d --no-resolve-image --name web --replicas 5 -p 80:80 app:1")
    shell.until("docker service ls --format '{{.Replicas}}'", lambda out: out.strip() == "5/5")
    counts: Counter[str] = Counter()
    for number in (101, 102):
        url = f"http://{place.subnet}.{number}/"
        shell.until(f"curl -s -m 5 {url}", lambda out: "Hostname" in out)
        for _ in range(250):
            page = subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True).stdout
            counts.update(re.findall(r"Hostname:</b> (\w+)", page))
    return " ".join(str(count) for count in counts.values())


def _memory(shell: Shell, machine: str) -> float:
    """Megabytes (proportional set size) of a machine's daemon and its etcd."""
    each = "grep -i ^pss: /proc/$q/smaps_rollup"
    script = f"p=$(cat /run/shoald.pid); for q in $p $(cat /proc/$p/task/*/children); do {each}; done"
    out = shell.run(f"docker-machine ssh {machine} '{script}'")
    return sum(int(number) for number in re.findall(r"Pss: +(\d+) kB", out)) / 1000


def _recovery(shell: Shell) -> float:
    """Seconds from a worker's sudden death until five tasks run on what is left."""
    start = time.perf_counter()
    shell.run("docker-machine kill bench2")
    running = "docker service ps web --filter desired-state=running --format '{{.Node}} {{.CurrentState}}'"
    shell.until(running, lambda out: len(re.findall(r"^bench1 Running", out, re.M)) == 5)
    return time.perf_counter() - start
