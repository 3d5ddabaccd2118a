"""The `virtualbox` driver: machines in Oracle VirtualBox, by its command VBoxManage.

Reading order: `vboxmanage` (running the command, its failures), `parse` (its answers), `ranges` (which host-only
networks it allows), `hostonly` (the network machines and host share), `settings` (the flags), `commands` (what a
machine is made of), `disk`, `driver`. Uses `shoal.machine.hypervisor` and what is below it; works on every system that
VirtualBox runs on.
"""
