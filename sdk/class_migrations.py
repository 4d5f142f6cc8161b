"""Migrations of classes: which namespaces a deployment has, and how a new configuration changes them (spec: config, migrations).

Pure: `plan(deployed, steps, …)` gives the next state or raises. What always holds: steps are applied in order, all or none; a
namespace keeps its key for life, through renames; a key is never used again, so what is left of a deleted namespace never
comes back under a new class of the same name.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from ..engine.errors import ConfigError
from .tables import Table, names, tables, text

NOT_CONFIGURED, NOT_EXPORTED, CLASS_LEFT_OUT, EXISTS = 10061, 10070, 10064, 10074
"""Codes of the reference's API; messages end with them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of `migrations`."""

    tag: str
    new: tuple[str, ...] = ()
    """Of the key-value backend."""
    new_sqlite: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    """From, to."""
    deleted: tuple[str, ...] = ()
    transferred: tuple[tuple[str, str, str], ...] = ()
    """From, the program that has it, to."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the deployment remembers. The empty one has applied nothing."""

    tag: str | None = None
    """Of the last step that was applied."""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class → the name that its key is made of: that of its creation."""
    sqlite: frozenset[str] = frozenset()
    """Classes with SQL."""
    used: Mapping[str, int] = field(default_factory=dict[str, int])
    """Class name → how many namespaces were ever created under it."""
    removing: tuple[str, ...] = ()
    """Key names of namespaces that are deleted and whose objects may not all be gone yet."""
    by_exports: bool = False
    """Its classes are declared by `exports`: from then on there is no way back to migrations."""
    promised: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class → the program that it may be transferred to, by the `exports` of this one."""

    def to_wire(self) -> dict[str, object]:
        return {
            "tag": self.tag,
            "keys": dict(self.keys),
            "sqlite": sorted(self.sqlite),
            "used": dict(self.used),
            "removing": list(self.removing),
            "by_exports": self.by_exports,
            "promised": dict(self.promised),
        }

    @classmethod
    def from_wire(cls, fields: Mapping[str, object]) -> Deployed:
        return cls(
            cast("str | None", fields["tag"]),
            cast("dict[str, str]", fields["keys"]),
            frozenset(cast("list[str]", fields["sqlite"])),
            cast("dict[str, int]", fields["used"]),
            tuple(cast("list[str]", fields["removing"])),
            bool(fields.get("by_exports")),
            cast("dict[str, str]", fields.get("promised") or {}),
        )


NOTHING = Deployed()
"""Of a deployment that has applied no migration."""
_ELSEWHERE = "="
"""In front of a key name that came from another program: the rest is the whole key."""


def unique_key(program: str, key_name: str) -> str:
    """The class key of a namespace: `<program>-<key name>`, for life, also in the hands of another program."""
    return key_name.removeprefix(_ELSEWHERE) if key_name.startswith(_ELSEWHERE) else f"{program}-{key_name}"


def read_steps(path: str, found: Table) -> tuple[Step, ...]:
    """The key `migrations` of a configuration, as it is written. Raises ConfigError."""
    steps: list[Step] = []
    for item in tables(path, found.get("migrations"), "migrations"):
        renamed = tables(path, item.get("renamed_classes"), "renamed_classes")
        transferred = tables(path, item.get("transferred_classes"), "transferred_classes")
        steps.append(
            Step(
                text(path, item, "tag", "migrations: "),
                tuple(names(path, item, "new_classes")),
                tuple(names(path, item, "new_sqlite_classes")),
                tuple((text(path, pair, "from"), text(path, pair, "to")) for pair in renamed),
                tuple(names(path, item, "deleted_classes")),
                tuple(
                    (text(path, each, "from"), text(path, each, "from_script"), text(path, each, "to"))
                    for each in transferred
                ),
            )
        )
    return tuple(steps)


class Draft:
    """The state of a program while something is applied to it.

    `others`: the other programs', which a transfer changes; None: nothing is remembered of any.
    """

    def __init__(
        self,
        before: Deployed,
        where: str,
        bound: Collection[str],
        exported: Collection[str] | None,
        name: str = "",
        others: MutableMapping[str, Deployed] | None = None,
    ) -> None:
        self._name = name
        self._others = others
        self.keys = dict(before.keys)
        self.sqlite = set(before.sqlite)
        self.used = dict(before.used)
        self.removing = list(before.removing)
        self._where = where
        self._bound = bound
        self._exported = exported
        self.created: list[str] = []
        self.deleted: list[str] = []

    def apply(self, step: Step) -> None:
        for name in (*step.new, *step.new_sqlite):
            self._create(step, name)
        self.sqlite.update(step.new_sqlite)
        for old, new in step.renamed:
            self._rename(step, old, new)
        for name in step.deleted:
            self.delete(name)
        for old, program, new in step.transferred:
            self.take(old, program, new)

    def _create(self, step: Step, name: str) -> None:
        if name in self.keys:
            raise ConfigError(
                f"{self._where}: migration '{step.tag}': Cannot apply new-class migration to class {name}: it is "
                f"already depended on by existing Durable Objects [code: {EXISTS}]",
                hint="a class is created once, and its storage kind is fixed; give objects of the key-value backend SQL with "
                "`perdure objects upgrade CLASS`",
            )
        self.create(name)

    def create(self, name: str) -> None:
        """A new namespace, under a key that was never used."""
        count = self.used[name] = self.used.get(name, 0) + 1
        self.keys[name] = name if count == 1 else f"{name}~{count}"
        self.created.append(name)

    def take(self, old: str, program: str, new: str) -> None:
        """The namespace of another program's class becomes that of a class of this one: ids, names and data stay."""
        if self._others is None:  # nothing is remembered: as good as new
            self.create(new)
            self.sqlite.add(new)
            return
        source = self._others.get(program)
        if source is None or old not in source.keys:
            raise ConfigError(
                f"{self._where}: cannot transfer {old} of {program}: it is not deployed here",
                hint="transfers are made between programs of one data folder: serve it too, `perdure run A B`",
            )
        if new in self.keys:
            raise ConfigError(
                f"{self._where}: cannot transfer {old} of {program} to {new}: {new} exists: it must not be created separately",
                hint="`transferred_classes` alone makes the new name",
            )
        self.keys[new] = f"{_ELSEWHERE}{unique_key(program, source.keys[old])}"
        if old in source.sqlite:
            self.sqlite.add(new)
        self.created.append(new)
        self._others[program] = replace(
            source,
            keys={name: key for name, key in source.keys.items() if name != old},
            sqlite=source.sqlite - {old},
            promised={name: to for name, to in source.promised.items() if name != old},
        )

    def _rename(self, step: Step, old: str, new: str) -> None:
        if old not in self.keys or new in self.keys:
            why = (
                f"{old} does not exist" if old not in self.keys else f"{new} exists: it must not be created separately"
            )
            raise ConfigError(
                f"{self._where}: migration '{step.tag}': cannot rename {old} to {new}: {why}",
                hint="`renamed_classes` alone makes the new name",
            )
        self.rename(old, new)

    def rename(self, old: str, new: str) -> None:
        """The namespace stays, its class has another name."""
        self.keys[new] = self.keys.pop(old)
        if old in self.sqlite:
            self.sqlite.remove(old)
            self.sqlite.add(new)
        self.created = [new if name == old else name for name in self.created]

    def delete(self, name: str) -> None:
        """The namespace with all its objects."""
        if name not in self.keys:
            raise ConfigError(f"{self._where}: deleted_classes migration to non-existent class {name}")
        self.deleted.append(name)
        self.removing.append(self.keys.pop(name))
        self.sqlite.discard(name)
        self.created = [each for each in self.created if each != name]

    def check(self) -> None:
        """What only the end of all steps tells: deleted classes are not bound, all others are in the code."""
        for name in self.deleted:
            if name in self._bound and name not in self.keys:
                raise ConfigError(
                    f"{self._where}: Cannot apply --delete-class migration to class '{name}' while a binding names it "
                    f"[code: {NOT_CONFIGURED}]",
                    hint=f"remove the binding of {name} first, then deploy the deletion",
                )
        if self._exported is None:
            return
        for name in self.created:
            if name not in self._exported:
                raise ConfigError(
                    f"{self._where}: Cannot apply new-class migration to class {name}, which is not exported by the script "
                    f"[code: {NOT_EXPORTED}]",
                    hint=f"declare `class {name}(DurableObject)` in the main module",
                )
        check_exports(self.keys, self._bound, self._exported, self._where)


def pending(deployed: Deployed, steps: Sequence[Step], where: str) -> tuple[Step, ...]:
    """The steps after the last that was applied. Raises ConfigError for a tag that the configuration does not know."""
    if deployed.tag is None:
        return tuple(steps)
    tags = [step.tag for step in steps]
    if deployed.tag not in tags:
        raise ConfigError(
            f"{where}: migration tag precondition failed: the last migration applied here is '{deployed.tag}', and the "
            "configuration has none of that tag",
            hint="put the entry back: entries are only ever added. For another deployment of the program give another --data",
        )
    return tuple(steps[tags.index(deployed.tag) + 1 :])


def plan(
    deployed: Deployed,
    steps: Sequence[Step],
    *,
    where: str,
    bound: Collection[str] = (),
    exported: Collection[str] | None = None,
    name: str = "",
    others: MutableMapping[str, Deployed] | None = None,
) -> Deployed:
    """The state after the steps that are pending. `bound`: classes that bindings name. `exported`: None: not known yet.

    `others`: program name → state, of all but this one (`name`); transfers change it. Raises ConfigError; then nothing is
    applied.
    """
    if deployed.by_exports:
        raise ConfigError(
            f"{where}: the classes of this program are declared by `exports`, and there is no way back to migrations",
            hint="put `exports` back; for another deployment of the program give another --data",
        )
    _check_tags(steps, where)
    todo = pending(deployed, steps, where)
    draft = Draft(deployed, where, bound, exported, name, others)
    for step in todo:
        draft.apply(step)
    draft.check()
    tag = todo[-1].tag if todo else deployed.tag
    return Deployed(tag, draft.keys, frozenset(draft.sqlite), draft.used, tuple(draft.removing))


def without(deployed: Deployed, key_name: str) -> Deployed:
    """The state when all objects of a deleted namespace are gone."""
    return replace(deployed, removing=tuple(name for name in deployed.removing if name != key_name))


def check_bindings(keys: Collection[str], bound: Collection[str], steps: Sequence[object], where: str) -> list[str]:
    """Bindings of classes that no migration has created; lenient, as local development is, where there are none at all.

    Gives those classes. Raises ConfigError.
    """
    missing = [name for name in dict.fromkeys(bound) if name not in keys]
    if missing and steps:
        name = missing[0]
        steps = [step for step in steps if isinstance(step, Step)]
        late = next((step.tag for step in steps if name in (*step.new, *step.new_sqlite)), None)
        hint = f'add a new-class migration: {{"tag": "…", "new_sqlite_classes": ["{name}"]}}'
        near = difflib.get_close_matches(name, keys, 1)
        if near:
            hint = f"did you mean {near[0]}? Otherwise {hint}"
        if late is not None and not any(name in (*(old for old, _ in step.renamed), *step.deleted) for step in steps):
            hint = (
                f"'{late}' was applied here before it named {name}, and no entry is applied twice: give {name} an entry of its "
                "own, with a new tag, behind the others"
            )
        raise ConfigError(
            f"{where}: Cannot create a binding for class '{name}': it is not currently configured to implement Durable "
            f"Objects [code: {NOT_CONFIGURED}]",
            hint=hint,
        )
    return missing


def check_exports(keys: Collection[str], bound: Collection[str], exported: Collection[str], where: str) -> None:
    """Every namespace has its class in the code. Raises ConfigError."""
    for name in dict.fromkeys(bound):
        if name not in exported:
            raise ConfigError(
                f"{where}: a binding refers to class '{name}', that is not exported by the script [code: {NOT_CONFIGURED}]",
                hint=f"There is no '{name}' class defined in the main module: declare `class {name}(DurableObject)`, or "
                "remove the binding",
            )
    for name in keys:
        if name not in exported:
            raise ConfigError(
                f"{where}: New version of script does not export class '{name}' which is depended on by existing Durable "
                f"Objects [code: {CLASS_LEFT_OUT}]",
                hint=f'to delete its objects with all data, add a delete-class migration: `deleted_classes: ["{name}"]`',
            )


def _check_tags(steps: Sequence[Step], where: str) -> None:
    tags: set[str] = set()
    for step in steps:
        if step.tag in tags:
            raise ConfigError(f"{where}: two migrations have the tag '{step.tag}'")
        tags.add(step.tag)
