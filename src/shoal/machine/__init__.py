"""Machines: docker-machine's successor. Store on disk, certificates, drivers, ssh, shells, tables.

Reading order: `record` (what config.json holds), `store` (where it lies), `certs`, `driver` (what a driver must do),
`provision` (what an engine needs to be installed with), `actions` (create, start, stop, remove), `probe` and `table`
(what `ls` shows), `ssh`, `shells`; `install` (Shoal on a machine, over ssh), `provisioning` (machines that exist, their
certificates), `generic`, `none`. Then `migrate` (docker-machine's older records), `stranded` (machines whose driver is
gone), `transfer` (export and import; `archive`, `sealed`, `arrivals`), `mounts`. `local` is the driver whose machines
are namespaces on this computer; nothing here imports it until a machine asks for it.

Imports `model` and `kit` only.
"""
