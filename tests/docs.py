"""Pages whose examples are run: `<!-- file: PATH -->` before a block writes it, `<!-- run: PROGRAM -->` before a console
block serves the program and compares what its commands print."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BLOCK = re.compile(r"<!-- (file|run): (\S+) -->\n```\w*\n(.*?)```", re.DOTALL)


@dataclass
class Block:
    kind: str
    target: str
    text: str

    def commands(self) -> list[tuple[str, str]]:
        """(command, expected output) of a console block."""
        found: list[tuple[str, str]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            else:
                command, output = found[-1]
                found[-1] = (command, output + line + "\n")
        return found


def blocks(text: str) -> list[Block]:
    return [Block(*match) for match in _BLOCK.findall(text)]
