"""Programs as files: which classes a main module has, and what is said of one that cannot be loaded (spec: objects, class)."""

from __future__ import annotations

import json
import sys

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk.program import load
from perdure.sdk.programs import load_programs

MAIN = """
from perdure_test_library import Lent
from workers import DurableObject, WorkerEntrypoint

class Room(DurableObject):
    pass

class Hall(Room):
    pass

class _Hidden(DurableObject):
    pass

class Default(WorkerEntrypoint):
    pass

class Plain:
    pass
"""


V1 = [{"tag": "v1", "new_sqlite_classes": ["Room"]}]
MAIN_OF_CRONS = """
from workers import DurableObject, WorkerEntrypoint
class Room(DurableObject): pass
class Default(WorkerEntrypoint):
    async def fetch(self, request): pass
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    (tmp_path / "perdure_test_library.py").write_text(
        "from workers import DurableObject\nclass Lent(DurableObject):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("perdure_test_library", None)


def test_entry_classes_are_the_public_ones_imported_ones_too(tmp_path, library) -> None:
    (tmp_path / "perdure_test_main.py").write_text(MAIN)
    assert sorted(load(str(tmp_path / "perdure_test_main.py")).classes) == ["Hall", "Lent", "Room"]
    (tmp_path / "perdure_test_named.py").write_text(MAIN + '\n__all__ = ["Hall", "_Hidden"]\n')
    assert sorted(load(str(tmp_path / "perdure_test_named.py")).classes) == ["Hall", "_Hidden"]


def configured(folder, source: str) -> str:
    (folder / "src").mkdir()
    (folder / "src" / "entry.py").write_text(source)
    (folder / "wrangler.json").write_text(
        json.dumps(
            {
                "name": "w",
                "main": "src/entry.py",
                "compatibility_date": "2026-01-01",
                "durable_objects": {"bindings": [{"name": "ROOMS", "class_name": "Room"}]},
            }
        )
    )
    return str(folder)


def test_a_configured_class_that_is_missing_from_the_main_module(tmp_path) -> None:
    with pytest.raises(ConfigError, match="10061") as raised:
        load(configured(tmp_path, "from workers import DurableObject\n"))
    assert "There is no 'Room' class defined in the main module" in (raised.value.hint or "")


def test_an_import_with_the_folder_of_main_in_front_says_to_drop_it(tmp_path) -> None:
    with pytest.raises(ConfigError, match="ModuleNotFoundError") as raised:
        load(configured(tmp_path, "from src.rooms import Room\n"))
    assert "drop the `src.` prefix: the directory of main is on sys.path" in (raised.value.hint or "")


def warned(folder, source: str, **more: object) -> list[str]:
    path = configured(folder, source)
    file = folder / "wrangler.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "migrations": V1, **more}))
    return list(load_programs([path]).warnings)


def test_a_program_that_cannot_answer_http_is_told_so(tmp_path) -> None:
    source = "from workers import DurableObject, WorkerEntrypoint\nclass Room(DurableObject): pass\n"
    (said,) = warned(tmp_path, f"{source}class Defalt(WorkerEntrypoint): pass\n")
    assert said.endswith("nothing answers HTTP: declare `class Default(WorkerEntrypoint)`; it has Defalt")


def test_crons_without_a_handler_are_told(tmp_path) -> None:
    (said,) = warned(tmp_path, MAIN_OF_CRONS, triggers={"crons": ["* * * * *"]})
    assert "no `scheduled`" in said


def test_crons_with_a_handler_are_not(tmp_path) -> None:
    source = f"{MAIN_OF_CRONS}    async def scheduled(self, controller): pass\n"
    assert warned(tmp_path, source, triggers={"crons": ["* * * * *"]}) == []


def test_a_misspelt_class_of_a_binding_is_guessed(tmp_path) -> None:
    bindings = {"bindings": [{"name": "ROOMS", "class_name": "Romo"}]}
    with pytest.raises(ConfigError, match="10061") as found:
        warned(tmp_path, MAIN_OF_CRONS, durable_objects=bindings)
    assert found.value.hint.startswith("did you mean Room?")


def test_a_class_that_derives_from_nothing_can_be_bound_and_a_worker_s_cannot(tmp_path) -> None:
    warned(tmp_path, "from workers import WorkerEntrypoint\nclass Room: pass\n")
    (tmp_path / "worker").mkdir()
    with pytest.raises(ConfigError, match="10061") as found:
        warned(tmp_path / "worker", "from workers import WorkerEntrypoint\nclass Room(WorkerEntrypoint): pass\n")
    assert "There is no 'Room' class defined" in found.value.hint
    assert "class Room(DurableObject)" in found.value.hint
