"""An undocumented command, argument or option of `perdure` fails here."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

import click
import pytest
from perdure.cli.commands import cli

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def pages() -> str:
    texts: list[str] = []
    for path in sorted([f"{ROOT}/README.md", *glob.glob(f"{ROOT}/docs/*.md")]):
        with open(path) as file:
            texts.append(file.read())
    return "\n".join(texts)


def commands(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def missing(command: str, found: click.Command, text: str) -> list[str]:
    """What the pages do not say of a command. Commands of a group may be told by their own name on its page."""
    words = command.split()
    told = f"{command}" in text or re.search(rf"`{words[-1]}[ `]", text) is not None
    absent = [] if told else [command]
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            name = max(parameter.opts, key=len)
            if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is None:
                absent.append(f"{command} {name}")
        if not getattr(parameter, "help", "") and isinstance(parameter, click.Option):
            absent.append(f"{command} {parameter.name}: no help")
    if not found.help:
        absent.append(f"{command}: no help")
    return absent


ALL = dict(commands(cli, "perdure"))


@pytest.mark.parametrize("command", ALL)
def test_every_command_and_option_is_documented(command: str) -> None:
    assert missing(command, ALL[command], pages()) == []


def test_an_undocumented_one_is_noticed() -> None:
    @click.command("vanish", help="x")
    @click.option("--never-told", help="x")
    def vanish(never_told: str) -> None: ...

    assert missing("perdure vanish", vanish, pages()) == ["perdure vanish", "perdure vanish --never-told"]
    assert len(ALL) >= 15
