"""Docker's "Get started, part 4: Swarms", step by step, on Shoal. Every step checks what it sees.

The commands are what a user types; `docker` and `docker-machine` are whatever the workplace says they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from demo.shell import Shell
from demo.workplace import PASSWORD, USER, Workplace

STACK = "getstartedlab"
ROUNDS = 5
"""How often a machine is asked anew before its answers count as uneven."""
HTTPD = """-c 'CMD ["httpd","-f","-p","80","-h","/www"]' -c 'STOPSIGNAL SIGKILL'"""
REDIS = """-c 'CMD ["redis-server","--protected-mode","no"]'"""
NOT_A_MANAGER = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state."


class Tutorial:
    """The steps, in order; each leaves what the next one needs."""

    def __init__(self, place: Workplace, shell: Shell, registry: str) -> None:
        self.place, self.shell, self.registry = place, shell, registry
        self.run, self.until, self.note, self.expect = shell.run, shell.until, shell.note, shell.expect
        knows = "--detach" in shell.run("docker stack deploy --help", quiet=True)
        self.detach = "--detach=false" if place.docker and knows else ""
        self.ip = {f"myvm{number}": f"{place.subnet}.{100 + number}" for number in (1, 2, 3)}
        self.image = f"{registry}/me/get-started"

    # --- 1: an image in a private registry ---

    def publish(self) -> None:
        """An app, its image, and a private registry"""
        self.shell.chapter("1. An app, its image, and a private registry")
        self.run("eval $(docker-machine env default)")
        self.note("'default' is your own docker; the registry runs on this computer and wants a password")
        self.run("./build >app.tar")
        self.run(f"docker import {HTTPD} app.tar friendlyhello")
        self.run(f"docker tag friendlyhello {self.image}:part2")
        self.run("docker run -d -p 4000:80 --name hello friendlyhello")
        page = self.until(f"curl -s http://{self.place.subnet}.100:4000/", lambda out: "Hello World!" in out)
        self.expect("Hostname:" in page, "the app does not say where it runs")
        self.run("docker rm -f hello")
        refused = self.run(f"docker push {self.image}:part2", fails=True)
        self.expect("denied" in refused or "unauthorized" in refused or "credentials" in refused, refused)
        (self.shell.folder / "password").write_text(PASSWORD)
        self.run(f"docker login -u {USER} --password-stdin {self.registry} <password")
        self.run(f"docker push {self.image}:part2")
        self.run("eval $(docker-machine env -u)")
        compose = self.shell.folder / "docker-compose.yml"
        compose.write_text(compose.read_text().replace("192.168.99.1:5000", self.registry))

    # --- 2 and 3: machines, and a swarm of them ---

    def create_machines(self) -> None:
        """Two machines"""
        self.shell.chapter("2. Two machines")
        flags = f"--driver {self.place.driver} --engine-insecure-registry {self.registry}"
        for name in ("myvm1", "myvm2"):
            self.run(f"docker-machine create {flags} {name}")
        rows = [
            rf"^{name} +- +{self.place.driver} +Running +tcp://{self.ip[name]}:2376 " for name in ("myvm1", "myvm2")
        ]
        table = self.until("docker-machine ls", lambda out: all(re.search(row, out, re.M) for row in rows))
        head = table.splitlines()[0].split()
        self.expect(head == ["NAME", "ACTIVE", "DRIVER", "STATE", "URL", "SWARM", "DOCKER", "ERRORS"], table)
        self.note("each has an address of its own, an sshd, and a docker API with TLS on port 2376")

    def build_swarm(self) -> None:
        """A swarm of them"""
        self.shell.chapter("3. Make them a swarm")
        said = self.run(f'docker-machine ssh myvm1 "docker swarm init --advertise-addr {self.ip["myvm1"]}"')
        self.expect("is now a manager." in said, said)
        join = re.search(r"^ +(docker swarm join --token SWMTKN-\S+ \S+:2377)$", said, re.M)
        self.expect(join, said)
        assert join is not None
        self.join = join.group(1)
        if self.place.patience > 1:  # an emulated machine may be silent for 3 s, and be Down then, on a busy computer
            self.run('docker-machine ssh myvm1 "docker swarm update --dispatcher-heartbeat 5s"', quiet=True)
        said = self.run(f'docker-machine ssh myvm2 "{self.join}"')
        self.expect("This node joined a swarm as a worker." in said, said)
        nodes = self.until('docker-machine ssh myvm1 "docker node ls"', lambda out: out.count(" Ready ") == 2)
        self.expect(re.search(r"^\w{25} \* +myvm1 +Ready +Active +Leader", nodes, re.M), nodes)
        self.expect(re.search(r"^\w{25} +myvm2 +Ready +Active", nodes, re.M), nodes)
        twice = self.run(f'docker-machine ssh myvm2 "{self.join}"', fails=True)
        self.expect("This node is already part of a swarm." in twice, twice)

    # --- 4 and 5: the app ---

    def deploy(self) -> None:
        """Deploy the app"""
        self.shell.chapter("4. Deploy the app on the swarm")
        self.run("docker-machine env myvm1")
        self.run("eval $(docker-machine env myvm1)")
        self.until("docker-machine ls", lambda out: re.search(r"^myvm1 +\* ", out, re.M) is not None)
        said = self._deploy()
        self.expect(f"Creating network {STACK}_webnet" in said and f"Creating service {STACK}_web" in said, said)

    def look(self) -> None:
        """See where it runs, and that both machines answer"""
        self.shell.chapter("5. Five containers, two machines, one port")
        tasks = self._running(5)
        self.expect({"myvm1", "myvm2"} == set(re.findall(r"myvm\d", tasks)), tasks)
        self.run(f"docker service ps {STACK}_web")
        self._round_robin("myvm1")
        self._round_robin("myvm2")
        self.note("every container answered exactly as often as every other, whichever machine was asked")

    # --- 6 and 7: iterate and scale ---

    def iterate(self) -> None:
        """Change the file, change the app, add a machine"""
        self.shell.chapter("6. Iterate and scale")
        self._edit("replicas: 5", "replicas: 7")
        self._deploy()
        self._running(7)
        flags = f"--driver {self.place.beside} --engine-insecure-registry {self.registry}"
        self.run(f"docker-machine create {flags} myvm3")
        self.run(f'docker-machine ssh myvm3 "{self.join}"')
        self._round_robin("myvm3", replicas=7)
        self.note("myvm3 runs none of the containers yet, and answers all the same")
        self.run("sed -i 's/Hello World/Hello Shoal/' index.cgi && ./build >app.tar")
        self.run(f"docker import {HTTPD} app.tar {self.image}:part4")
        self.run(f"docker push {self.image}:part4")
        self._edit("get-started:part2", "get-started:part4")
        self._edit("replicas: 7", "replicas: 6")
        self._deploy()
        tasks = self._running(6, ":part4")
        self.expect("myvm3" in tasks, tasks)
        self.until(f"curl -s http://{self.ip['myvm2']}/", lambda out: "Hello Shoal!" in out)
        self.note("the new image rolled out task by task, and the new machine took its share")

    def strategies(self) -> None:
        """The two strategies"""
        self.shell.chapter("7. Emptiest node, and one on every node")
        self.run("./redis/build >redis.tar")
        self.run(f"docker import {REDIS} redis.tar {self.image}:redis")
        self.run(f"docker push {self.image}:redis")
        self._edit(
            "networks:\n  webnet:\n",
            f"  redis:\n    image: {self.image}:redis\n    deploy:\n      placement:\n        constraints:"
            " [node.role == manager]\n    networks:\n      - webnet\n"
            f"  everywhere:\n    image: {self.image}:part4\n    command: sleep 86400\n    deploy:\n      mode: global\n"
            "    networks:\n      - webnet\nnetworks:\n  webnet:\n",
        )
        self._deploy()
        spread = Counter(re.findall(r"myvm\d", self._running(6, ":part4")))
        self.expect(set(spread.values()) == {2}, f"not spread evenly: {spread}")
        columns = "--filter desired-state=running --format '{{.Node}} {{.CurrentState}}'"
        nodes = f"docker service ps {columns} {STACK}_everywhere"
        self.until(nodes, lambda out: sorted(re.findall(r"(myvm\d) Running", out)) == ["myvm1", "myvm2", "myvm3"])
        self.until("docker service ls", lambda out: out.count("1/1") == 1 and "3/3" in out and "6/6" in out)
        self.until(f"curl -s http://{self.ip['myvm1']}/", lambda out: re.search(r"Visits:</b> \d+", out) is not None)
        self.note("replicas go to the emptiest node, 'mode: global' to every node; Redis counts, found by its name")

    # --- 8: clean up and restart ---

    def take_apart(self) -> None:
        """Wrong turns, and cleaning up"""
        self.shell.chapter("8. Clean up and restart")
        said = self.run('docker-machine ssh myvm2 "docker node ls"', fails=True)
        self.expect(NOT_A_MANAGER in said, said)
        self.run(f"docker stack rm {STACK}")
        self.until("docker service ls -q && docker network ls --filter name=webnet -q", lambda out: out.strip() == "")
        said = self.run('docker-machine ssh myvm3 "docker swarm leave"')
        self.expect("Node left the swarm." in said, said)
        self.until("docker node ls", lambda out: re.search(r"myvm3 +Down", out) is not None)
        self.run("docker node rm myvm3")

    def restart(self) -> None:
        """Machines stop and come back, one with a new address"""
        self._edit(Path(self.shell.folder / "docker-compose.yml").read_text().partition("  redis:")[2], "")
        self._edit("  redis:", "networks:\n  webnet:\n")
        self._deploy()
        before = self._running(6)
        self.run("eval $(docker-machine env -u)")
        self.run("docker-machine stop myvm1 myvm2")
        stopped = re.compile(rf"^myvm1 +- +{self.place.driver} +Stopped +Unknown", re.M)
        self.until("docker-machine ls", lambda out: stopped.search(out) is not None)
        self.run(f"docker-machine start {'--new-address ' if self.place.chooses_addresses else ''}myvm1")
        said = self.run("docker-machine start myvm2")
        self.expect("Started machines may have new IP addresses." in said, said)
        self.ip["myvm1"] = self.run("docker-machine ip myvm1").strip()
        moved = self.ip["myvm1"] != f"{self.place.subnet}.101"
        self.expect(moved == self.place.chooses_addresses, f"myvm1 has the address {self.ip['myvm1']}")
        self.run("eval $(docker-machine env myvm1)")
        self.until("docker node ls", lambda out: out.count(" Ready ") == 2)
        self._running(6, gone=re.findall(r"^(\w{12}) ", before, re.M))
        self._round_robin("myvm1", replicas=6)
        self._round_robin("myvm2", replicas=6)
        self.note(f"the swarm is whole again by itself{', although its manager has another address' if moved else ''}")

    def leave(self) -> None:
        """The end"""
        self.run('docker-machine ssh myvm2 "docker swarm leave"')
        said = self.run('docker-machine ssh myvm1 "docker swarm leave"', fails=True)
        self.expect("You are attempting to leave the swarm on a node that is participating as a manager." in said, said)
        self.run('docker-machine ssh myvm1 "docker swarm leave --force"')
        self.run("eval $(docker-machine env -u)")
        self.run("docker-machine rm -y myvm1 myvm2 myvm3 default")
        self.expect(self.run("docker-machine ls -q").strip() == "", "machines are left")

    # --- helpers ---

    def _deploy(self) -> str:
        command = f"docker stack deploy {self.detach} --with-registry-auth -c docker-compose.yml {STACK}"
        return self.run(" ".join(command.split()))

    def _edit(self, old: str, new: str) -> None:
        """What the user does in an editor."""
        compose = self.shell.folder / "docker-compose.yml"
        text = compose.read_text()
        self.expect(old in text, f"{old!r} is not in the compose file")
        compose.write_text(text.replace(old, new))
        self.note(f"docker-compose.yml: {' '.join(old.split())[:60]} -> {' '.join(new.split())[:60]}")

    def _running(self, replicas: int, image: str = "", gone: Sequence[str] = ()) -> str:
        """Wait until so many replicas of the app run, and none of the tasks `gone`, and show them."""
        running = re.compile(rf"^(\w+) +{STACK}_web\.\d+ .*{re.escape(image)} .* Running ", re.M)

        def as_wanted(out: str) -> bool:
            tasks = running.findall(out)
            return len(tasks) == replicas and not {*tasks} & {*gone}

        return self.until(
            f"docker stack ps --filter desired-state=running --filter name={STACK}_web {STACK}", as_wanted
        )

    def _round_robin(self, machine: str, replicas: int = 5) -> None:
        """Ask one machine twice for each replica: every container answers exactly twice."""
        curl = f"curl -s -m {15 * self.place.patience:.0f} http://{self.ip[machine]}/"
        self.until(curl, lambda out: "Hostname:" in out)
        rounds: list[bool] = []

        def settled(out: str) -> bool:
            # A machine hears of a container a moment after `stack ps` does, and then begins anew, perhaps in the middle
            # of this: what is uneven again and again is.
            counts = Counter(out.splitlines())
            if len(counts) == replicas:
                rounds.append({*counts.values()} == {2})
            return rounds[-1:] == [True] or len(rounds) == ROUNDS

        asked = f"for i in $(seq {2 * replicas}); do {curl} | grep -oE 'Hostname:</b> [0-9a-f]+'; done"
        self.expect(self.until(asked, settled) and rounds[-1], f"{ROUNDS} times, not every container answered twice")


STEPS = (
    Tutorial.publish,
    Tutorial.create_machines,
    Tutorial.build_swarm,
    Tutorial.deploy,
    Tutorial.look,
    Tutorial.iterate,
    Tutorial.strategies,
    Tutorial.take_apart,
    Tutorial.restart,
    Tutorial.leave,
)
