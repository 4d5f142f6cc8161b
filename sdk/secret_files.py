"""Secrets of a program in files beside its configuration: `.dev.vars`, or else `.env` (spec: config).

What always holds: of `.dev.vars.<environment>` and `.dev.vars` one is read; of the `.env` files those of the environment and
those that end in `.local` win over the others; the files' own `${NAME}` stays as it is written.
"""

from __future__ import annotations

import os

from ..engine.errors import ConfigError


def read_secrets(folder: str, env_name: str | None) -> dict[str, str]:
    """Name → value. Raises ConfigError for a file that is no text."""
    for name in [*([f".dev.vars.{env_name}"] if env_name else []), ".dev.vars"]:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return _values(path)
    of_env = [f".env.{env_name}", f".env.{env_name}.local"] if env_name else []
    found: dict[str, str] = {}
    for name in (".env", *of_env[:1], ".env.local", *of_env[1:]):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            found.update(_values(path))
    return found


def _values(path: str) -> dict[str, str]:
    try:
        from dotenv import dotenv_values  # most programs have no such file

        found = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint="it must be UTF-8 text of NAME=value lines") from error
    return {name: value for name, value in found.items() if value is not None}
