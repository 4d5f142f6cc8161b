"""`perdure supervise`: the launcher for production. Foreground, clean signals, for systemd and containers alike."""

from __future__ import annotations

import os
import sys

import click

from ..router import logs
from ..shards.setups import Setup
from ..shards.supervisor import supervise as run_supervisor
from . import settings
from .packages import provide
from .run import run
from .terminal import print_ready


@click.command(params=[p for p in run.params if p.name != "programs"])
@click.option("--program", help="folder with a wrangler file, or a Python file")
def supervise(config: str | None, install: bool, **flags: object) -> None:
    """Run a program from flags, environment (PERDURE_<FLAG>) and file, in this order."""
    logs.configure()

    def read() -> Setup:
        return settings.resolve(flags, os.environ, settings.find_file(config))

    setup = read()
    provide(setup.programs, install=install)
    sys.exit(run_supervisor(setup, print_ready, read))
