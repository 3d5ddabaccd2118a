"""What `service create` and `service update` have in common: options that set one thing in a service's spec."""

from __future__ import annotations

import shlex

from shoal.cli.command import Options, fail
from shoal.cli.grammar import capability
from shoal.cli.words import Json, pairs

_TEXTS = {"hostname": "Hostname", "workdir": "Dir", "user": "User", "stop-signal": "StopSignal"}
_SWITCHES = {"tty": "TTY", "read-only": "ReadOnly", "init": "Init"}
_HEALTH_DURATIONS = {
    "health-interval": "Interval",
    "health-timeout": "Timeout",
    "health-start-period": "StartPeriod",
    "health-start-interval": "StartInterval",
}
_RESTART_DEFAULTS: Json = {"Condition": "any", "Delay": 5 * 10**9, "MaxAttempts": 0}
_UPDATE_DEFAULTS: Json = {
    "Parallelism": 1,
    "FailureAction": "pause",
    "Monitor": 5 * 10**9,
    "MaxFailureRatio": 0,
    "Order": "stop-first",
}


def apply(spec: Json, options: Options) -> None:
    """Put into `spec` what was given. Raises CommandFault for what does not go together."""
    template = spec["TaskTemplate"]
    _container(template.setdefault("ContainerSpec", {}), options)
    _resources(template, options)
    _restart(template, options)
    for kind in ("update", "rollback"):
        _update(spec, kind, options)
    if options.changed("replicas-max-per-node"):
        template.setdefault("Placement", {})["MaxReplicas"] = options.number("replicas-max-per-node")
    if options.changed("endpoint-mode"):
        spec.setdefault("EndpointSpec", {})["Mode"] = options.text("endpoint-mode")
    _logging(template, options)


def _container(container: Json, options: Options) -> None:
    for name, key in _TEXTS.items():
        if options.changed(name):
            container[key] = options.text(name)
    for name, key in _SWITCHES.items():
        if options.changed(name):
            container[key] = options.flag(name)
    if options.changed("stop-grace-period"):
        container["StopGracePeriod"] = options.duration("stop-grace-period")
    if options.changed("oom-score-adj"):
        container["OomScoreAdj"] = options.number("oom-score-adj")
    if options.changed("entrypoint"):
        container["Command"] = shlex.split(options.text("entrypoint"))
    _health(container, options)
    if options.any_changed("cap-add", "cap-drop"):
        _capabilities(container, options)


def _health(container: Json, options: Options) -> None:
    names = [*_HEALTH_DURATIONS, "health-cmd", "health-retries"]
    given = options.any_changed(*names)
    if options.flag("no-healthcheck"):
        if given:
            fail("--no-healthcheck conflicts with --health-* options")
        container["Healthcheck"] = {"Test": ["NONE"]}
    elif given:
        check = dict(container.get("Healthcheck") or {})
        if check.get("Test") == ["NONE"]:
            check.pop("Test")
        for name, key in _HEALTH_DURATIONS.items():
            if options.changed(name):
                check[key] = options.duration(name)
        if options.changed("health-retries"):
            check["Retries"] = options.number("health-retries")
        if options.changed("health-cmd"):
            text = options.text("health-cmd")
            check["Test"] = ["CMD-SHELL", text] if text else []
        container["Healthcheck"] = check


def _capabilities(container: Json, options: Options) -> None:
    """Adding what was dropped before undoes the drop, and the other way round; ALL swallows the rest."""
    added, dropped = ([capability(name) for name in options.many(option)] for option in ("cap-add", "cap-drop"))
    adds = dict.fromkeys(container.get("CapabilityAdd") or [])
    drops = dict.fromkeys(container.get("CapabilityDrop") or [])
    for name in dropped:
        if name in adds:
            del adds[name]
        else:
            drops[name] = None
    for name in added:
        drops.pop(name, None)
        adds[name] = None
    for key, values in (("CapabilityAdd", adds), ("CapabilityDrop", drops)):
        container[key] = ["ALL"] if "ALL" in values else sorted(values)
        if not container[key]:
            del container[key]


def _resources(template: Json, options: Options) -> None:
    resources = template.setdefault("Resources", {})
    for block, prefix in (("Limits", "limit"), ("Reservations", "reserve")):
        values = resources.setdefault(block, {})
        if options.changed(f"{prefix}-cpu"):
            values["NanoCPUs"] = options.nano_cpus(f"{prefix}-cpu")
        if options.changed(f"{prefix}-memory"):
            values["MemoryBytes"] = options.size(f"{prefix}-memory")
    if options.changed("limit-pids"):
        resources["Limits"]["Pids"] = options.number("limit-pids")


def _restart(template: Json, options: Options) -> None:
    if not options.any_changed("restart-condition", "restart-delay", "restart-max-attempts", "restart-window"):
        return
    policy = template["RestartPolicy"] = dict(template.get("RestartPolicy") or _RESTART_DEFAULTS)
    if options.changed("restart-condition"):
        policy["Condition"] = options.text("restart-condition")
    for name, key in (("restart-delay", "Delay"), ("restart-window", "Window")):
        if options.changed(name):
            policy[key] = options.duration(name)
    if options.changed("restart-max-attempts"):
        policy["MaxAttempts"] = options.number("restart-max-attempts")


def _update(spec: Json, kind: str, options: Options) -> None:
    names = ("parallelism", "delay", "monitor", "failure-action", "max-failure-ratio", "order")
    if not options.any_changed(*(f"{kind}-{name}" for name in names)):
        return
    key = "UpdateConfig" if kind == "update" else "RollbackConfig"
    config = spec[key] = dict(spec.get(key) or _UPDATE_DEFAULTS)
    if options.changed(f"{kind}-parallelism"):
        config["Parallelism"] = options.number(f"{kind}-parallelism")
    for name in ("delay", "monitor"):
        if options.changed(f"{kind}-{name}"):
            config[name.title()] = options.duration(f"{kind}-{name}")
    if options.changed(f"{kind}-max-failure-ratio"):
        config["MaxFailureRatio"] = options.real(f"{kind}-max-failure-ratio")
    for name, field in (("failure-action", "FailureAction"), ("order", "Order")):
        if options.changed(f"{kind}-{name}"):
            config[field] = options.text(f"{kind}-{name}")


def _logging(template: Json, options: Options) -> None:
    if options.changed("log-driver"):
        template["LogDriver"] = {"Name": options.text("log-driver"), "Options": pairs(options.many("log-opt"))}
