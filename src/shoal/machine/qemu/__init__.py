"""The `qemu` driver: virtual machines on this computer, by KVM or in software. Linux, with root or without.

    settings   the flags, checked, as the driver's data
    accel      whether KVM works here: tried once, remembered
    command    QEMU's command line, from a description of the machine; pure
    qmp        QEMU's monitor protocol
    launch     opens the tap, records who the machine is, becomes QEMU
    life       the process: start it, ask it, end it
    place      which addresses a machine gets and how its cards are connected: `Bridged` (root), `Unprivileged`
    driver     QemuDriver

`launch` uses the standard library only: it runs as `python -I -S`. Imports `machine.image` and `machine.seed` for what
is booted, `machine.subnet` and `machine.addresses` for the network that local machines use too.
"""
