"""The subcommands of `perdure`, one a file."""

from __future__ import annotations

import click

from .costs import costs
from .d1 import d1
from .dev import dev
from .keys import keys
from .new import new
from .objects import objects
from .reload import reload
from .run import run
from .supervise import supervise
from .trigger import trigger
from .types import types


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perdure")
def cli() -> None:
    """Self-hosted Durable Objects for Python."""


cli.add_command(run)
cli.add_command(dev)
cli.add_command(supervise)
cli.add_command(new)
cli.add_command(keys)
cli.add_command(costs)
cli.add_command(d1)
cli.add_command(objects)
cli.add_command(reload)
cli.add_command(trigger)
cli.add_command(types)
