"""Compose files: what is read, what is refused and with which words, how variables and several files work."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shoal.stack import interpolate
from shoal.stack.load import File, Loaded, load
from shoal.stack.names import StackFault
from shoal.stack.render import render
from shoal.stack.yaml_places import load as load_yaml

FILES = {"/project/e.env": "E1=v1\nB=fromfile\n# comment\n"}


def read(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def loaded(*texts: str, interpolated: bool = True, **variables: str) -> Loaded:
    files = [File(f"f{number}.yml", text) for number, text in enumerate(texts, 1)]
    return load(files, "/project", variables, read, interpolated=interpolated)


def service(text: str, **variables: str) -> dict[str, Any]:
    """The long form of one service given as flow YAML."""
    found: dict[str, Any] = loaded(f"services: {{web: {text}}}", **variables).tree["services"]["web"]
    return found


REFUSED = [
    ("services: {web: {image: a, foo: 1}}", "services.web Additional property foo is not allowed (f1.yml:1)"),
    ("services:\n  web:\n    image: a\n    deplpy: {}", "services.web Additional property deplpy is not allowed (f1.yml:4)"),
    ("services: {web: {image: 1}}", "services.web.image must be a string (f1.yml:1)"),
    ("services: {web: {image: a, ports: 80}}", "services.web.ports must be a list (f1.yml:1)"),
    ("services: {web: {image: a, ports: ['a:b']}}", "services.web.ports.0 Does not match format 'ports' (f1.yml:1)"),
    ("services: {web: {image: a, deploy: {replicas: x}}}", "services.web.deploy.replicas must be a integer (f1.yml:1)"),
    ("services: {web: {image: a, ports: [-1]}}", "invalid port range: -1 (f1.yml)"),
    ("services: {web: {image: a, deploy: {resources: {limits: {memory: x}}}}}",
     "services.web.deploy.resources.limits.memory invalid size: 'x' (f1.yml:1)"),
    ("services: {web: {image: a, environment: [1]}}", "services.web.environment.0 must be a string (f1.yml:1)"),
    ("services: {web: {image: a, labels: {a: true}}}",
     "services.web.labels.a must be a string, number or null (f1.yml:1)"),
    ("services: {web: {image: a, stop_grace_period: xx}}",
     "services.web.stop_grace_period Does not match format 'duration' (f1.yml:1)"),
    ("services: {web: {image: a, cap_add: [A, A]}}", "services.web.cap_add array items[0,1] must be unique (f1.yml:1)"),
    ("services: [a]", "services must be a mapping (f1.yml:1)"),
    ("services: {web: 3}", "services.web must be a mapping (f1.yml:1)"),
    ('services: {"we b": {image: a}}', "services Additional property we b is not allowed (f1.yml:1)"),
    ("foo: 1", "(root) Additional property foo is not allowed (f1.yml:1)"),
    ("networks: {a: {foo: 1}}", "networks.a Additional property foo is not allowed (f1.yml:1)"),
    ("version: '2'", "unsupported Compose file version: 2 (f1.yml:1)"),
    ("version: 3", "version must be a string (f1.yml:1)"),
    ("- a", "f1.yml: top-level object must be a mapping"),
    ("", "f1.yml: top-level object must be a mapping"),
    ("a: [b\n", "f1.yml:2: yaml: did not find expected ',' or ']'"),
    ("services:\n  web:\n    image: a\n    image: b", 'f1.yml:4: yaml: mapping key "image" already defined at line 3'),
    ("services: {1: {image: a}}", "f1.yml:1: Non-string key in services: 1"),
    ("services: {web: {image: a, extends: b}}",
     "Compose file contains unsupported options:\n\nextends: one service cannot extend another in a stack (f1.yml:1)\n"),
    ("services: {web: {image: a, secrets: [x]}}", "services.web.secrets: secrets are not supported yet (f1.yml:1)"),
    ("configs: {c: {file: x}}", "configs.c: configs are not supported yet (f1.yml:1)"),
    ("services: {web: {image: a}}\nnetworks:\n  a:\n    driver_opts:\n      encrypted: 'true'",
     "networks.a.driver_opts.encrypted is not supported: traffic between the nodes would go in clear (f1.yml:5)"),
    ("networks: {a: {driver_opts: {encrypted: }}}",
     "networks.a.driver_opts.encrypted is not supported: traffic between the nodes would go in clear (f1.yml:1)"),
    ("networks: {a: {external: {name: b}, name: c}}",
     "network a: network.external.name and network.name conflict; only use network.name (f1.yml)"),
    ("networks: {a: {external: true, driver: x}}",
     'conflicting parameters "external" and "driver" specified for network "a" (f1.yml)'),
    ('services: {web: {image: "a${X:?needed}"}}',
     'invalid interpolation format for services.web.image: "required variable X is missing a value: needed"; '
     "you may need to escape any $ with another $ (f1.yml:1)"),
    ('services: {web: {image: "a${X"}}', 'invalid interpolation format for services.web.image: "a${X"; '
     "you may need to escape any $ with another $ (f1.yml:1)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_stack_refuses_with_place(text: str, message: str) -> None:
    """A wrong file is refused naming the key, what is wrong with it, the file and the line."""
    with pytest.raises(StackFault) as caught:
        loaded(text)
    assert str(caught.value).replace("line 1, column", "") == message


def test_stack_env_file_missing() -> None:
    """An env_file that is not there is an error of the file system, with its path."""
    with pytest.raises(FileNotFoundError) as caught:
        service("{image: a, env_file: nope.env}")
    assert caught.value.filename == "/project/nope.env"


def test_stack_environment() -> None:
    """`environment` wins over env_file; a name alone takes the caller's value, or stays alone."""
    given = "{image: a, env_file: e.env, environment: {A: 1, F: 1.50, HOME: , NOPE: , B: 2}}"
    assert service(given, HOME="/h")["environment"] == {
        "E1": "v1", "B": "2", "A": "1", "F": "1.5", "HOME": "/h", "NOPE": None,
    }  # fmt: skip
    assert service("{image: a, environment: [A=1, HOME, C=x=y]}", HOME="/h")["environment"] == {
        "A": "1", "HOME": "/h", "C": "x=y",
    }  # fmt: skip


def test_stack_ports_forms() -> None:
    """Ports unfold: ranges, protocols, addresses, numbers, the long form."""
    ports = service(
        '{image: a, ports: ["80:80", "8000-8001:9000-9001/udp", 443, "1.2.3.4:5:6", {target: 7, mode: host}]}'
    )
    assert [(p.get("published"), p["target"], p["protocol"], p["mode"], p.get("ip")) for p in ports["ports"]] == [
        (80, 80, "tcp", "ingress", None),
        (8000, 9000, "udp", "ingress", None),
        (8001, 9001, "udp", "ingress", None),
        (None, 443, "tcp", "ingress", None),
        (5, 6, "tcp", "ingress", "1.2.3.4"),
        (None, 7, "tcp", "host", None),
    ]


def test_stack_sexagesimal_stays_text() -> None:
    """`22:22` without quotes is a port, not a number to base 60."""
    assert service("{image: a, ports: [22:22]}")["ports"][0]["published"] == 22


def test_stack_volumes_forms() -> None:
    """Sources that are paths are binds, relative to the file; the rest are volumes."""
    volumes = service('{image: a, volumes: ["./d:/d:ro", "v:/v:nocopy", /anon, "~/h:/h", {type: tmpfs, target: /t}]}')
    found = [(v["type"], v.get("source"), v["target"], v.get("read_only")) for v in volumes["volumes"]]
    assert found[:3] == [
        ("bind", "/project/d", "/d", True),
        ("volume", "v", "/v", None),
        ("volume", None, "/anon", None),
    ]
    assert found[3][0] == "bind"
    assert not str(found[3][1]).startswith("~")
    assert found[4] == ("tmpfs", None, "/t", None)
    with pytest.raises(StackFault, match="invalid spec: a:b:c:d: too many colons"):
        service('{image: a, volumes: ["a:b:c:d"]}')


def test_stack_casts_after_interpolation() -> None:
    """A variable may stand where a number or a switch should."""
    web = service('{image: a, deploy: {replicas: "${N:-3}"}, tty: "${T}", ports: [{target: "${P}"}]}', T="true", P="80")
    assert web["deploy"]["replicas"] == 3
    assert web["tty"] is True
    assert web["ports"][0]["target"] == 80


def test_stack_words_of_commands() -> None:
    """A command given as text is split as a shell would."""
    assert service("""{image: a, command: 'ping "docker com" $$HOME'}""")["command"] == ["ping", "docker com", "$HOME"]


def test_stack_merge() -> None:
    """Later files override: mappings merge, lists grow without doubles, commands are replaced, ports and volumes meet."""
    one = """
services:
  web: {image: a, command: x y, dns: 8.8.8.8, ports: ["80:80", "81:81"], volumes: ["v:/a", "./d:/d"],
        environment: {A: 1, B: 1}, labels: [l=1], deploy: {replicas: 5, placement: {constraints: [a==b]}},
        logging: {driver: json-file, options: {a: 1}}}
networks: {n: {driver: overlay}}
volumes: {v: , w: }
"""
    two = """
services:
  web: {image: b, command: [z], dns: [8.8.8.8, 1.1.1.1], ports: ["80:90"], volumes: ["w:/a"], environment: [B=2],
        labels: {m: 2}, deploy: {replicas: 2, placement: {constraints: [c==d]}}, logging: {options: {b: 2}}}
  db: {image: redis}
"""
    web = loaded(one, two).tree["services"]["web"]
    assert (web["image"], web["command"], web["dns"]) == ("b", ["z"], ["8.8.8.8", "1.1.1.1"])
    assert [(p["published"], p["target"]) for p in web["ports"]] == [(80, 90), (81, 81)]
    assert [(v["source"], v["target"]) for v in web["volumes"]] == [("w", "/a"), ("/project/d", "/d")]
    assert web["environment"] == {"A": "1", "B": "2"}
    assert web["labels"] == {"l": "1", "m": "2"}
    assert web["deploy"] == {"replicas": 2, "placement": {"constraints": ["a==b", "c==d"]}}
    assert web["logging"] == {"driver": "json-file", "options": {"a": "1", "b": "2"}}
    with pytest.raises(StackFault, match=r"version mismatched between two composefiles : 3\.7 and 3\.8"):
        loaded("version: '3.7'", "version: '3.8'")


def test_stack_warnings() -> None:
    """What is left aside is said once, by name."""
    warnings = loaded(
        "services: {web: {image: a, build: ., restart: always, container_name: x, privileged: true}}"
    ).warnings
    assert warnings == [
        "Ignoring unsupported options: build, privileged, restart\n",
        "Ignoring deprecated options:\n",
        "container_name: Setting the container name is not supported.\n",
    ]


def test_stack_anchors_and_merge_keys() -> None:
    """Anchors, and merge keys, whose values do not count as doubles."""
    text = "x-base: &base {image: a, user: u}\nservices:\n  web:\n    <<: *base\n    user: v\n"
    assert loaded(text).tree["services"]["web"] == {"image": "a", "user": "v"}


INTERPOLATED = [
    ("$A ${A}", "1 1"), ("${N}", ""), ("${N:-d}", "d"), ("${N-d}", "d"), ("${E:-d}", "d"), ("${E-d}", ""),
    ("${N:-${A}}", "1"), ("${N:-}", ""), ("$$A", "$A"), ("a$$$A", "a$1"), ("${A:?no}", "1"), ("${E?no}", ""),
]  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), INTERPOLATED)
def test_stack_interpolation_forms(template: str, expected: str) -> None:
    """All forms of variables that Compose files know."""
    assert interpolate.text(template, {"A": "1", "E": ""}) == expected


@pytest.mark.parametrize("template", ["${", "${}", "${1}", "$1", "${A!}", "a$", "${A:}", "${N:?x}", "${E:?x}"])
def test_stack_interpolation_faults(template: str) -> None:
    """What is not a variable, or is required and missing, is refused."""
    with pytest.raises(ValueError, match=r'^".*"$'):
        interpolate.text(template, {"A": "1", "E": ""})


@given(st.text())
def test_stack_interpolation_escape(text: str) -> None:
    """A text with its dollars doubled comes out as it was."""
    assert interpolate.text(text.replace("$", "$$"), {}) == text


class Quoting(yaml.SafeDumper):
    """Texts in quotes: PyYAML takes some for plain text that Compose, with Go's YAML, takes for numbers (`0E0`)."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))

YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z]{2,5}", fullmatch=True), inner, max_size=3)
    ),
)


@given(
    st.dictionaries(
        st.from_regex("[a-z]{3,6}", fullmatch=True).filter(lambda key: key not in ("true", "false", "null")), YAML
    )
)
def test_stack_yaml_round_trip(value: dict[str, Any]) -> None:
    """What PyYAML writes is read back the same, with a line for every key."""
    text = yaml.dump(value, Dumper=Quoting, allow_unicode=True)
    found, places = load_yaml(text, "f")
    assert found == value
    assert all(places[(key,)] >= 1 for key in value)


def test_stack_config_is_a_fixed_point() -> None:
    """What `stack config` prints means the same when it is read again, whichever way it was written."""
    text = """
version: "3.8"
services:
  web:
    image: a
    command: ping "x y"
    environment: [A=1, "B=yes", N=n]
    ports: ["80:80", "90-91:90-91/udp"]
    volumes: ["./d:/d:ro", "v:/v"]
    networks: [n]
    labels: [a=b]
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 50M}}}
networks: {n: {external: true}}
volumes: {v: {driver: local}}
"""
    once = loaded(text).tree
    twice = loaded(render(once, escape=True)).tree
    assert render(twice, escape=False) == render(once, escape=False)
    assert twice["services"]["web"]["environment"] == once["services"]["web"]["environment"]
