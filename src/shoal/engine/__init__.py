"""Engine: containers, images, registry, volumes, exec, logs, events, health. One machine; knows no swarm.

Reading order: `engine` (what there is), `containers` (what can be done with a container), `lifecycle` (start, exit,
restart), `launch` and `conmon` (how a process comes to be), `oci` (what crun is told), `records` (what is on disk).
Beside them `cgroup`, `seccomp`, `overlay`, `logs`, `attach`, `execs`, `health`; and for images `images`, `image_store`,
`image_pull`, `registry`, `layers`, `volumes`, `volume_mounts`. Imports `network`, `model` and `kit`.
"""
