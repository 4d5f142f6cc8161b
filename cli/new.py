"""`perdure new`: a program from a template."""

from __future__ import annotations

import os
import re
import shutil
from importlib.resources import as_file, files

import click

from ..engine.errors import ConfigError


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Make the folder NAME with a program in it: a wrangler file, a class, a Worker."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", os.path.basename(name)):
        raise ConfigError(f"{name!r} is no good name", hint="letters, digits, - and _")
    if os.path.exists(name):
        raise ConfigError(f"{name} exists already", hint="choose another name")
    title = os.path.basename(name)
    with as_file(files("perdure.cli").joinpath("templates")) as templates:
        copy(str(templates), name, title)
    click.echo(f"made {name}; serve it with: perdure run {name}")


def copy(templates: str, folder: str, title: str) -> None:
    """Copy the templates to `folder`, which must not exist, for a program of this name."""
    shutil.copytree(templates, folder, ignore=shutil.ignore_patterns("__pycache__"))  # pip compiles what it installs
    for parent, _, names in os.walk(folder):
        for file in names:
            path = os.path.join(parent, file)
            with open(path, encoding="utf-8") as opened:
                text = opened.read()
            with open(path, "w", encoding="utf-8") as opened:
                opened.write(text.replace("PROGRAM_NAME", title))
