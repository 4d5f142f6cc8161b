"""`exports`: the classes of a program as a map of what they are to be (spec: config, exports).

Pure, like migrations: `plan_exports(deployed, exports, …)` gives the next state and what was done, or raises. What always holds:
the map says all; a class that it does not name is left alone while the code has it, and is an error when it has objects and
the code has it no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from ..engine.errors import ConfigError
from .class_migrations import Deployed, Draft, Step, check_exports
from .tables import Table, table

STATES: Mapping[str, frozenset[str]] = {
    "created": frozenset({"storage"}),
    "deleted": frozenset(),
    "renamed": frozenset({"renamed_to"}),
    "transferred": frozenset({"transferred_to"}),
    "expecting-transfer": frozenset({"storage", "transfer_from"}),
}
"""State → the fields that belong to it."""
_LIVE = ("created", "expecting-transfer")
_KIND = "durable-object"
_STORAGE = ("sqlite", "legacy-kv")


@dataclass(frozen=True, slots=True)
class ClassExport:
    """One entry. `target`: the class it is renamed to, or the program that it goes to or comes from."""

    state: str
    sqlite: bool = True
    target: str = ""


ClassExports = Mapping[str, ClassExport]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`done`: a line for each change; `notes`: what may be said besides."""

    deployed: Deployed
    done: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_exports(path: str, found: Table) -> ClassExports | None:
    """The key `exports`, or None where there is none. Entries of other types speak of Workers. Raises ConfigError."""
    if found.get("exports") is None:
        return None
    entries = {
        name: table(path, value, f"exports.{name}") for name, value in table(path, found["exports"], "exports").items()
    }
    exports = {name: _entry(path, name, entry) for name, entry in entries.items() if entry.get("type") == _KIND}
    for name, export in exports.items():
        if export.state == "renamed" and (export.target not in exports or exports[export.target].state not in _LIVE):
            raise ConfigError(
                f"{path}: exports.{name}: renamed_to '{export.target}' is no live entry of the same map",
                hint=f'add `"{export.target}": {{"type": "{_KIND}"}}`',
            )
    return exports


def _entry(path: str, name: str, entry: Table) -> ClassExport:
    state = entry.get("state", "created")
    if state not in STATES:
        raise ConfigError(f"{path}: exports.{name}: state must be one of {', '.join(STATES)}, got {state!r}")
    fields = STATES[cast("str", state)]
    for key in entry:
        if key not in ("type", "state") and key not in fields:
            raise ConfigError(f"{path}: exports.{name}: '{key}' does not belong to the state '{state}'")
    storage = entry.get("storage", _STORAGE[0])
    if storage not in _STORAGE:
        raise ConfigError(f"{path}: exports.{name}: storage must be one of {', '.join(_STORAGE)}, got {storage!r}")
    target = ""
    for key in fields - {"storage"}:
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{path}: exports.{name}: the state '{state}' needs '{key}'")
        target = value
    return ClassExport(cast("str", state), storage == _STORAGE[0], target)


def plan_exports(
    deployed: Deployed,
    exports: ClassExports,
    *,
    where: str,
    name: str = "",
    exported: Collection[str] | None = None,
    others: MutableMapping[str, Deployed] | None = None,
    bound_elsewhere: Collection[str] = (),
) -> Outcome:
    """The state that the map asks for. `exported`: classes of the code, None: not known yet; `others` as for migrations.

    `bound_elsewhere`: classes that bindings of other programs name. Raises ConfigError; then nothing is applied.
    """
    draft = Draft(deployed, where, (), exported, name, others)
    promised: dict[str, str] = {}
    done: list[str] = []
    notes: list[str] = []
    for old, entry in exports.items():  # what frees names comes first
        if entry.state == "renamed":
            if old in draft.keys:
                _refuse(
                    entry.target in draft.keys, f"{where}: cannot rename {old}: {entry.target} has objects of its own"
                )
                draft.rename(old, entry.target)
                done.append(f"Renamed: {old} -> {entry.target}")
            else:
                notes.append(_stale(old))
        elif entry.state == "deleted":
            if old in draft.keys:
                _check_deletion(where, old, exported, bound_elsewhere)
                draft.delete(old)
                done.append(f"Deleted: {old}")
            else:
                notes.append(_stale(old))
        elif entry.state == "transferred":
            if old in draft.keys:
                promised[old] = entry.target
                done.append(f"Transfer pending: {old} -> {entry.target}")
            else:
                notes.append(_stale(old))
    for new, entry in exports.items():
        if entry.state == "created":
            _create(draft, where, new, entry, deployed, done)
        elif entry.state == "expecting-transfer" and new not in draft.keys:
            _receive(draft, name, new, entry.target, others or {}, done)
    if exported is not None:
        _check_code(draft, where, exports, promised, exported)
    after = replace(
        deployed,
        keys=draft.keys,
        sqlite=frozenset(draft.sqlite),
        used=draft.used,
        removing=tuple(draft.removing),
        by_exports=True,
        promised=promised,
    )
    return Outcome(after, tuple(done), tuple(notes))


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise ConfigError(message)


def _stale(name: str) -> str:
    return f"[stale_tombstone] {name}: there is nothing left of it; it is safe to remove the entry"


def _check_deletion(where: str, name: str, exported: Collection[str] | None, bound_elsewhere: Collection[str]) -> None:
    if exported is not None and name in exported:
        raise ConfigError(
            f"{where}: exports.{name} is deleted, and the code still has the class",
            hint=f"remove `class {name}` from the main module first",
        )
    if name in bound_elsewhere:
        raise ConfigError(
            f"{where}: exports.{name} is deleted, and another program binds it [tombstone_delete_blocked_by_external_bindings]",
            hint="remove that binding first",
        )


def _create(draft: Draft, where: str, name: str, entry: ClassExport, deployed: Deployed, done: list[str]) -> None:
    if name not in draft.keys:
        draft.create(name)
        if entry.sqlite:
            draft.sqlite.add(name)
        done.append(f"Created: {name}")
    elif (name in draft.sqlite) != entry.sqlite and name in deployed.keys:
        raise ConfigError(
            f"{where}: exports.{name}: the storage of a class is fixed when it is created",
            hint="give objects of the key-value backend SQL with `perdure objects upgrade CLASS`",
        )


def _receive(draft: Draft, name: str, new: str, source: str, others: Mapping[str, Deployed], done: list[str]) -> None:
    """A class that comes from another program: taken when that one has promised it, waited for until then."""
    before = others.get(source)
    if before is not None and before.promised.get(new) == name:
        draft.take(new, source, new)
        done.append(f"Transferred: {new} <- {source}")
    else:
        done.append(f"Transfer pending: {new} <- {source}")


def _check_code(
    draft: Draft, where: str, exports: ClassExports, promised: Mapping[str, str], exported: Collection[str]
) -> None:
    for name, entry in exports.items():
        if entry.state in _LIVE and name not in exported:
            raise ConfigError(
                f"{where}: exports.{name}: the main module has no such class [config_references_nonexistent_class]",
                hint=f"declare `class {name}(DurableObject)` in it, or remove the entry",
            )
    check_exports([name for name in draft.keys if name not in promised], (), exported, where)


def renames(steps: Sequence[Step], exports: ClassExports | None, keys: Collection[str]) -> dict[str, str]:
    """Names that classes had before → the ones they have. Names that are used anew are not among them."""
    found = _renamed(steps, exports)
    return {old: new for old, new in found.items() if old not in keys and new in keys}


def called_now(name: str, steps: Sequence[Step], exports: ClassExports | None, keys: Collection[str]) -> str:
    """The class that a binding means which says `name`; also one that is deleted after it was renamed."""
    return name if name in keys else _renamed(steps, exports).get(name, name)


def _renamed(steps: Sequence[Step], exports: ClassExports | None) -> dict[str, str]:
    """Each name that was given up → what came of it in the end."""
    pairs = [pair for step in steps for pair in step.renamed]
    pairs += [(name, each.target) for name, each in (exports or {}).items() if each.state == "renamed"]
    found: dict[str, str] = {}
    for old, new in pairs:
        for before, after in found.items():
            if after == old:
                found[before] = new
        found[old] = new
    return found
