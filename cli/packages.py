"""What programs need and is not installed: said before they start, or installed for them into a folder of their own.

What always holds: the environment that perdure lives in is not changed; a folder is complete or is not there; the same
requirements for the same Python are installed once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence

import click
from packaging.requirements import Requirement

from ..engine.errors import ConfigError
from ..sdk.installed import SITE_VARIABLE
from ..sdk.requirements import missing, required

Run = Callable[[Sequence[str]], int]


def provide(programs: Iterable[str], *, install: bool) -> None:
    """Say what is missing; with `install`, install it and let this process's children find it. Raises ConfigError."""
    wanted = missing(each for program in programs for each in required(program))
    if not wanted:
        return
    names = " ".join(sorted(f"'{each}'" for each in wanted))
    if not install:
        click.echo(f"warning: the program needs {names}, which is not installed here", err=True)
        click.echo(f"hint: {sys.executable} -m pip install {names}   or: perdure run --install …", err=True)
        return
    os.environ[SITE_VARIABLE] = installed(wanted, cache_home(), _run)


def cache_home() -> str:
    """Where packages of programs are installed: the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "perdure", "packages")


def installed(wanted: Iterable[Requirement], home: str, run: Run) -> str:
    """The folder with these packages, made when it is not there. Raises ConfigError."""
    texts = sorted(str(each) for each in wanted)
    mark = hashlib.sha256("\n".join([sys.version, sysconfig.get_platform(), *texts]).encode()).hexdigest()[:16]
    folder, partial = os.path.join(home, mark), os.path.join(home, f"{mark}.{os.getpid()}")
    if os.path.isdir(folder):
        return _site_of(folder)
    os.makedirs(home, exist_ok=True)
    click.echo(f"installing {', '.join(texts)} into {folder}", err=True)
    try:
        python = os.path.join(partial, "bin", "python")
        for command in (
            [sys.executable, "-m", "venv", partial],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *texts],
        ):
            if run(command):
                raise ConfigError(f"{', '.join(texts)} cannot be installed", hint="pip's messages are above")
        os.rename(partial, folder)
    except FileExistsError:  # another start was faster
        pass
    except OSError:
        if not os.path.isdir(folder):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _site_of(folder)


def _site_of(folder: str) -> str:
    return os.path.join(folder, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode
