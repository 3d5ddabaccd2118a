"""Stand-ins for hypervisors that cannot be installed everywhere, for the tests of their drivers.

`VBoxManage` and `powershell.exe` are programs to be put first in PATH (`on_path`). They keep a register as the real
ones do, answer and refuse in their formats, and boot the described machine for real, by QEMU, from the disk, the image
and the port forwarding that they were given. The programs use nothing but Python's standard library:

    lan     a network between machines and this computer, with DHCP; one process, which ends with its last machine
    vm      one machine: QEMU, and the process that watches it
    vbox*   VBoxManage
    ps      PowerShell's language, as far as it is needed; `hyperv` the cmdlets
"""
