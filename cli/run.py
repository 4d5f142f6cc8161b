"""`perdure run`: serve a program on this machine."""

from __future__ import annotations

import sys

import click

from ..router import logs
from ..shards.supervisor import supervise
from . import settings
from .packages import provide
from .terminal import print_ready


@click.command()
@click.argument("programs", nargs=-1, metavar="[PROGRAM]...")
@click.option("--config", help="perdure.toml; each flag is a key of it, dashes written as underscores")
@click.option("--port", type=int, help="TCP port of the gateways; 0 takes a free one [8787]")
@click.option("--host", help="address to listen on [127.0.0.1]")
@click.option("--data", help="data folder [one a program, under the user's state folder]")
@click.option("--shards", type=int, help="shard processes [one a core]")
@click.option("--gateways", type=int, help="gateway processes [1]")
@click.option("--keepers", type=int, help="processes that hold WebSockets, started with the first one [1]")
@click.option("--env-name", help="environment of the wrangler file")
@click.option("--development", is_flag=True, default=None, help="show tracebacks in the bodies of error responses")
@click.option("--tls-certificate", help="PEM file: serve HTTPS")
@click.option("--tls-key", help="PEM file of its private key")
@click.option("--router", help="tcp://HOST:PORT where clients of other machines enter")
@click.option("--router-keys", help="folder of the CURVE keys made with `perdure keys new`")
@click.option("--drain-s", type=float, help="seconds that accepted requests get after SIGTERM [25]")
@click.option("--install", is_flag=True, help="install what pyproject.toml or requirements.txt of the programs name")
def run(programs: tuple[str, ...], config: str | None, install: bool, **flags: object) -> None:
    """Serve PROGRAM (a folder with a wrangler file, such a file, or a Python file) until Ctrl-C.

    The first of several answers HTTP; the others are reached through its bindings.
    """
    logs.configure()
    setup = settings.resolve_run(programs, config, flags)
    provide(setup.programs, install=install)
    sys.exit(supervise(setup, print_ready, lambda: settings.resolve_run(programs, config, flags)))
