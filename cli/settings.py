"""Where a setting comes from: flag, environment `PERDURE_<FLAG>`, file, default, in this order. Unknown keys are errors."""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from ..engine.errors import ConfigError
from ..sdk.config import find
from ..shards.setups import Setup

# name → type. These are the flags of `perdure run` and `perdure supervise`, and the keys of perdure.toml.
FLAGS: dict[str, type] = {
    "program": str,
    "data": str,
    "host": str,
    "port": int,
    "shards": int,
    "gateways": int,
    "keepers": int,
    "env_name": str,
    "development": bool,
    "tls_certificate": str,
    "tls_key": str,
    "router": str,
    "router_keys": str,
    "drain_s": float,
}
PROGRAMS = "programs"
"""A key of perdure.toml: a list, in the place of `program`."""
_TABLES = {
    "limits": "bounds",
    "quotas": "quotas",
    "classes": "tables, one a class, of bounds",
    "r2": "tables, one a bucket",
    "ai": "url, key, models",
}
"""Tables of perdure.toml, and what they hold."""
_OF_BINDINGS = ("r2", "ai")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def read_file(path: str) -> dict[str, object]:
    """The keys of a perdure.toml. Raises ConfigError: unreadable, no TOML, unknown keys, wrong types."""
    try:
        with open(path, "rb") as file:
            found: dict[str, object] = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for key, value in found.items():
        _check(path, key, value)
    folder = os.path.dirname(os.path.abspath(path))
    for key in ("program", "data", "tls_certificate", "tls_key", "router_keys"):
        if key in found:  # relative to the file, not to where the command was typed
            found[key] = os.path.join(folder, cast("str", found[key]))
    if PROGRAMS in found:
        if "program" in found:
            raise ConfigError(f"{path}: `program` and `programs` exclude each other")
        found[PROGRAMS] = [os.path.join(folder, each) for each in cast("list[str]", found[PROGRAMS])]
    return found


def find_file(path: str | None) -> dict[str, object]:
    """The keys of the file that was named by flag or by PERDURE_CONFIG; none when there is none."""
    path = path or os.environ.get("PERDURE_CONFIG")
    return read_file(path) if path else {}


def _check(source: str, key: str, value: object) -> None:
    if key in _TABLES:
        return
    if key == PROGRAMS:
        paths = cast("list[object]", value) if isinstance(value, list) else []
        if not paths or not all(isinstance(each, str) for each in paths):
            raise ConfigError(f"{source}: programs must be a list of paths, got {value!r}")
        return
    if key not in FLAGS:
        near = difflib.get_close_matches(key, [*FLAGS, PROGRAMS, *_TABLES], 1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join([*FLAGS, PROGRAMS, *_TABLES])}"
        raise ConfigError(f"{source}: unknown key '{key}'", hint=hint)
    wanted = FLAGS[key]
    good = isinstance(value, int | float) if wanted is float else type(value) is wanted
    if not good:
        raise ConfigError(f"{source}: {key} must be {wanted.__name__}, got {value!r}")


def read_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """The flags among `PERDURE_…` variables. Raises ConfigError when one does not parse."""
    found: dict[str, object] = {}
    for key, kind in FLAGS.items():
        variable = f"PERDURE_{key.upper()}"
        text = environment.get(variable)
        if text is None:
            continue
        try:
            found[key] = _boolean(text) if kind is bool else kind(text)
        except ValueError:
            raise ConfigError(f"{variable} must be {kind.__name__}, got {text!r}") from None
    return found


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


def data_home() -> str:
    """Where data folders are by default: the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "perdure")


def default_data(program: str) -> str:
    """One folder a program: its name, and a digest of its path so that two of the same name stay apart."""
    path = os.path.realpath(program)
    name = Path(path).stem or "program"
    return os.path.join(data_home(), f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}")


def resolve(flags: Mapping[str, object], environment: Mapping[str, str], file: Mapping[str, object]) -> Setup:
    """The setup that results. `flags` holds None where none was given. Raises ConfigError."""
    given = {key: value for key, value in flags.items() if value is not None}
    merged: dict[str, object] = {**file, **read_environment(environment), **given}
    tables = {name: merged.pop(name, {}) for name in _TABLES}
    for name, found in tables.items():
        if not isinstance(found, dict):
            raise ConfigError(f"{name} must be a table of {_TABLES[name]}")
    bindings = {name: tables.pop(name) for name in _OF_BINDINGS}
    limits, quotas, classes = (cast("dict[str, object]", found) for found in tables.values())
    listed = cast("Sequence[str] | None", merged.pop(PROGRAMS, None))
    if "program" in merged and PROGRAMS not in given:
        listed = [cast("str", merged["program"])]
    if not listed:
        raise ConfigError("no program was named", hint="give a folder or a file")
    paths = [os.path.abspath(each) for each in listed]
    for path in paths:
        if not os.path.exists(path):
            raise ConfigError(f"there is no program at {path}", hint="`perdure new NAME` makes one")
    merged["program"], merged["beside"] = paths[0], tuple(paths[1:])
    merged.setdefault("data", default_data(paths[0]))
    merged.setdefault("shards", min(os.cpu_count() or 1, 64))
    setup = Setup(**merged, settings=limits, quotas=quotas, classes=classes, bindings=bindings)  # pyright: ignore[reportArgumentType]
    setup.check()
    return setup


def resolve_run(programs: Sequence[str], config: str | None, flags: Mapping[str, object]) -> Setup:
    """The setup of `perdure run PROGRAM…` as file, environment and flags have it now. Raises ConfigError."""
    file = find_file(config)
    named = "program" in file or PROGRAMS in file or "PERDURE_PROGRAM" in os.environ
    given = list(programs) or (None if named else _here())
    return resolve({PROGRAMS: given, **flags}, os.environ, file)


def _here() -> list[str] | None:
    """The current folder when it holds a program."""
    return [os.getcwd()] if find(os.getcwd()) is not None else None
