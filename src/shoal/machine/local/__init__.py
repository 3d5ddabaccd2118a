"""The `local` driver: machines that are namespaces on this computer. Linux, root.

Their network is `machine.subnet`, which virtual machines of this computer share.

    cgroups    the machine's part of the cgroup tree: version 1, hybrid, 2
    disk       the machine's files: its own /etc, /var, /root; layers over the host's /usr and /etc
    mounts     mount(2) and the machine's file tree, built in its own mount namespace
    launch     joins the cgroups, unshares, forks pid 1: `init`, which starts and restarts sshd and shoald
    boot       the command's side of a start and of a stop
    driver     LocalDriver

`launch`, `init`, `mounts` and `cgroups` use the standard library only: they run as `python -I -S`, to be quick.
"""
