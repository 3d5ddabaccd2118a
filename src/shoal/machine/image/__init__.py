"""The machine image: what virtual machines boot. One file in the store, `cache/shoal.iso`, as boot2docker.iso was.

Reading order: `iso` (the little that must be read of an ISO), `cached` (the image that is there, checked, its kernel and
root extracted beside it), `build` (made from Debian packages, needs Linux), `guest/` (the files of the running machine).

Imports `model`, `kit` and `machine.errors` only; nothing of it needs Linux but building.
"""

from __future__ import annotations

from shoal.machine.image.cache import Image, cached

__all__ = ["Image", "cached"]
