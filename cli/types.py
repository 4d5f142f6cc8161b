"""`perdure types`: write the types of a program's `env`, so that editors complete `stub.method(…)` and checkers check it."""

from __future__ import annotations

import os

import click

from ..sdk.programs import load_programs
from .type_stubs import MODULE, written

_SDK = '"""Made by `perdure types`: what the program imports as `workers`."""\n\nfrom perdure.sdk.workers import *\n'


@click.command()
@click.argument("programs", nargs=-1, required=True, metavar="PROGRAM...")
@click.option("--env-name", help="environment of the wrangler file")
def types(programs: tuple[str, ...], env_name: str | None) -> None:
    """Write worker_types.py beside the main module of PROGRAM, and typings/workers for checkers.

    Further programs are those of its bindings. In the program: `env: Env` in a class, with `from worker_types import Env`.
    """
    loaded = load_programs([os.path.abspath(each) for each in programs], env_name)
    first = loaded.first.config
    path = os.path.join(os.path.dirname(first.main), f"{MODULE}.py")
    folder = os.path.join(os.path.dirname(first.path or first.main), "typings", "workers")
    os.makedirs(folder, exist_ok=True)
    for place, text in ((path, written(loaded)), (os.path.join(folder, "__init__.pyi"), _SDK)):
        with open(place, "w", encoding="utf-8") as file:
            file.write(text)
        click.echo(f"wrote {os.path.relpath(place)}")
