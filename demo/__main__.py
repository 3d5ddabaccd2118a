"""`python -m demo`: the whole tutorial, shown. `--docker PATH` uses the official command line instead of Shoal's."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping

from demo.shell import Unexpected
from demo.tutorial import STEPS, Tutorial
from demo.workplace import bring_image, free_subnet, registry, workplace


def run(
    docker: str,
    subnet: str,
    *,
    driver: str = "local",
    settings: Mapping[str, str] | None = None,
    image: str = "",
    together: bool = False,
    show: bool = True,
) -> None:
    """Go through the tutorial. Raises Unexpected where something is not as the tutorial says."""
    with workplace(docker, subnet, driver, settings, together=together) as place:
        shell = place.shell(show=show)
        if driver != "local":
            bring_image(place, shell, image)
        shell.chapter("0. Docker on your own computer: a machine called default")
        shell.run(
            f"docker-machine create --driver {place.beside} --{place.beside}-address {subnet}.100"
            f" --engine-insecure-registry {place.host}:5000 default"
        )
        with registry(place) as address:
            tutorial = Tutorial(place, shell, address)
            for step in STEPS:
                step(tutorial)


def main() -> None:
    """Parse the command line, run, say how long it took."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--docker", default="", metavar="PATH", help="the official docker command line to use")
    parser.add_argument("--driver", default="local", help="what makes the two machines: local or qemu (local)")
    parser.add_argument("--image", default="", metavar="ISO", help="the machine image to use, instead of making one")
    parser.add_argument(
        "--subnet", help="the machines' network, three numbers (the first that is not used, from 192.168.99 on)"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The demo makes machines on this computer and must be root: sudo make demo")
    start = time.monotonic()
    try:
        run(options.docker, options.subnet or free_subnet("192.168.99"), driver=options.driver, image=options.image)
    except Unexpected as fault:
        sys.exit(f"\nThe tutorial stopped: {fault}")
    print(f"\nThat was the whole tutorial, in {time.monotonic() - start:.0f} seconds. Nothing of it is left.")


if __name__ == "__main__":
    main()
