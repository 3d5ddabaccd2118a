"""The machine image: what virtual machines boot. One file in the store, `cache/shoal.iso`, as boot2docker.iso was.

Reading order: `iso` (the little that must be read of an ISO), `cache` (the image that is there, checked, its kernel and
root extracted beside it), `sources` (Shoal and the Python packages it needs, and the version that follows from them),
`debian` (the packages, and what is taken out of them), `guest` (what makes them a machine), `pack` (initrd, squashfs,
ISO), `build` (all of it in order). `files/` holds the programs of the running machine: `initrd` finds the root file
system, `inittab` says what runs, `rc` is the start, `down` the end.

Nothing of it needs Linux but building, which looks at once for what it needs.
"""

from __future__ import annotations

from shoal.machine.image.build import build, ensure
from shoal.machine.image.cache import Image, cached

__all__ = ["Image", "build", "cached", "ensure"]
