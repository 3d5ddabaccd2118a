"""The `local` driver: machines that are namespaces on this computer. Linux, root.

    process    a process that is known by more than its number; signalling and waiting for it
    cgroups    the machine's part of the cgroup tree: version 1, hybrid, 2
    subnet     the machines' bridge in a network namespace of its own, and who has which address
    disk       the machine's files: its own /etc, /var, /root; layers over the host's /usr and /etc
    mounts     mount(2) and the machine's file tree, built in its own mount namespace
    launch     joins the cgroups, unshares, forks pid 1: `init`, which starts and restarts sshd and shoald
    boot       the command's side of a start and of a stop
    driver     LocalDriver

`launch`, `init`, `mounts` and `cgroups` use the standard library only: they run as `python -I -S`, to be quick.
"""
