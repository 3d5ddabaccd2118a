"""The `hyperv` driver: machines in Windows' Hyper-V, by its PowerShell module.

Reading order: `powershell` (quoting, running), `scripts` (what Hyper-V is told), `parse` (what it answers), `settings`
(the flags), `observer` (all machines in one question), `driver`. Uses `shoal.machine.hypervisor` and what is below it.
"""
