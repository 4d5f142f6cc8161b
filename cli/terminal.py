"""What people see: logs and errors on stderr, coloured in a terminal, plain when piped. Stdout carries results only."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..engine.errors import PerdureError


def print_error(error: PerdureError) -> None:
    """`error: …` and, if there is one, `hint: …`."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text("error: ", "bold red") + Text(error.message))
    if error.hint:
        console.print(Text("hint: ", "bold") + Text(error.hint))


def print_ready(url: str, about: dict[str, object]) -> None:
    """One line on stdout, the rest on stderr."""
    print(f"ready {url}", flush=True)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    classes = about.get("classes")
    rows = [
        ("program", str(about.get("program"))),
        ("classes", ", ".join(str(name) for name in classes) if isinstance(classes, list) else ""),
        ("data", str(about.get("data"))),
        ("processes", f"{about.get('shards')} shards, {about.get('gateways')} gateways"),
        ("try", f"curl -i {url}/"),
        ("stop", "Ctrl-C, or SIGTERM: accepted requests get their answers first"),
    ]
    for name, value in rows:
        console.print(Text(f"  {name:<10}", "bold cyan") + Text(value))
