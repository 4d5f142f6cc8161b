"""Each key of a wrangler file: read, inherited or not, ignored, refused (spec: config, keys)."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk import config
from perdure.sdk.config_keys import ABSENT, IGNORED

BASE = {"name": "w", "main": "entry.py"}


def read(folder, env_name: str | None = None, **keys: object) -> config.Config:
    (folder / "entry.py").write_text("")
    (folder / "wrangler.json").write_text(json.dumps({**BASE, **keys}))
    return config.read(str(folder / "wrangler.json"), env_name)


@pytest.mark.parametrize("key", sorted({"$schema", *IGNORED}))
def test_accepted_without_a_word(tmp_path, key: str) -> None:
    assert read(tmp_path, **{key: {"any": True}}).warnings == ()


@pytest.mark.parametrize("key", sorted(ABSENT))
def test_what_does_not_exist_is_an_error_that_says_what_to_use(tmp_path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' cannot be served") as raised:
        read(tmp_path, **{key: [{"binding": "X"}]})
    assert raised.value.hint == ABSENT[key]
    assert read(tmp_path, **{key: []}).warnings == ()


def test_unknown_keys_are_named(tmp_path) -> None:
    assert read(tmp_path, triggerz={}).warnings == (
        f"{tmp_path}/wrangler.json: unknown key 'triggerz' is ignored; did you mean triggers?",
    )


@pytest.mark.parametrize(("name", "good"), [("my-app_2", True), ("my app", False), ("a.b", False)])
def test_names(tmp_path, name: str, good: bool) -> None:
    if good:
        assert read(tmp_path, name=name).name == name
    else:
        with pytest.raises(ConfigError, match="no good name"):
            read(tmp_path, name=name)


@pytest.mark.parametrize("date", ["2026-1-1", "yesterday", "20260101"])
def test_dates(tmp_path, date: str) -> None:
    with pytest.raises(ConfigError, match="must be yyyy-mm-dd"):
        read(tmp_path, compatibility_date=date)


def test_vars_are_texts_and_json(tmp_path) -> None:
    given = {"TEXT": "x", "NUMBER": 1, "YES": True, "LIST": [1, {"a": 2}], "TABLE": {"b": {"c": 3}}}
    assert read(tmp_path, vars=given).vars == given


def test_version_metadata(tmp_path) -> None:
    found = read(tmp_path, version_metadata={"binding": "VERSION"}).vars["VERSION"]
    assert isinstance(found, dict)
    assert (found["id"], found["tag"]) == ("w", "")
    assert found["timestamp"].endswith("+00:00")


SECRETS = {".dev.vars": "A='dev'\nexport B=\"two words\" # comment\n", ".dev.vars.staging": "A=staging\n"}
ENVS = {
    ".env": "A=1\nB=1\nC=1\nD=${A}\n",
    ".env.staging": "B=2\nC=2\n",
    ".env.local": "C=3\n",
    ".env.staging.local": "E=4\n",
}


@pytest.mark.parametrize(
    ("files", "env_name", "expected"),
    [
        (SECRETS, None, {"A": "dev", "B": "two words"}),
        (SECRETS, "staging", {"A": "staging"}),
        ({**SECRETS, **ENVS}, None, {"A": "dev", "B": "two words"}),
        (ENVS, None, {"A": "1", "B": "1", "C": "3", "D": "${A}"}),
        (ENVS, "staging", {"A": "1", "B": "2", "C": "3", "D": "${A}", "E": "4"}),
        (
            {".dev.vars": 'KEY="line one\nline two"\n# A=b\nEMPTY=\nBARE\n'},
            None,
            {"KEY": "line one\nline two", "EMPTY": ""},
        ),
    ],
)
def test_secrets(tmp_path, files: dict[str, str], env_name: str | None, expected: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read(tmp_path, env_name, env={"staging": {}}).vars == expected


def test_what_an_environment_inherits(tmp_path) -> None:
    keys = {
        "vars": {"A": "1"},
        "services": [{"binding": "S", "service": "w"}],
        "durable_objects": {"bindings": [{"name": "R", "class_name": "R"}]},
        "migrations": [{"tag": "1", "new_sqlite_classes": ["R"]}],
        "triggers": {"crons": ["* * * * *"]},
        "limits": {"cpu_ms": 100},
        "compatibility_date": "2026-01-01",
        "compatibility_flags": ["python_workers"],
        "kv_namespaces": [{"binding": "KV", "id": "1"}],
    }
    found = read(tmp_path, "staging", **keys, env={"staging": {}})
    assert found.name == "w-staging"
    assert (found.vars, found.services, found.bindings, found.sections) == ({}, (), (), {})
    assert [step.tag for step in found.steps] == ["1"]
    assert [cron.text for cron in found.crons] == ["* * * * *"]
    assert found.limits == {"turn_ms_max": 100}
    assert found.compatibility_date == "2026-01-01"
    assert found.compatibility_flags == {"python_workers"}
    lost = {text.split("repeat ")[1].split(",")[0] for text in found.warnings}
    assert lost == {"'vars'", "'services'", "'durable_objects'", "'kv_namespaces'"}
    found = read(
        tmp_path, "staging", **keys, env={"staging": {"name": "other", "migrations": [], "triggers": {"crons": []}}}
    )
    assert (found.name, found.steps, found.crons) == ("other", (), ())
    with pytest.raises(ConfigError, match="has no environment 'live'") as raised:
        read(tmp_path, "live", env={"staging": {}})
    assert "staging" in raised.value.hint


def test_services(tmp_path) -> None:
    services = [
        {"binding": "A", "service": "auth"},
        {"binding": "B", "service": "auth", "entrypoint": "Admin", "environment": "live", "props": {"level": 1}},
    ]
    first, second = read(tmp_path, services=services).services
    assert (first.name, first.program, first.entrypoint, first.props) == ("A", "auth", None, None)
    assert (second.program, second.entrypoint, second.props) == ("auth-live", "Admin", {"level": 1})


def test_bindings_of_objects_of_other_programs(tmp_path) -> None:
    bindings = [
        {"name": "A", "class_name": "R", "script_name": "other"},
        {"name": "B", "class_name": "R", "script_name": "other", "environment": "live"},
        {"name": "C", "class_name": "Own", "script_name": "w"},
    ]
    found = read(tmp_path, durable_objects={"bindings": bindings})
    assert [binding.program for binding in found.bindings] == ["other", "other-live", None]
    assert found.keys == {"Own": "Own"}


@pytest.mark.parametrize(
    ("keys", "phrase"),
    [
        ({"services": [{"binding": "A"}]}, "services: 'service' is missing"),
        ({"services": [{"service": "a"}]}, "services: 'binding' is missing"),
        ({"services": {"A": "a"}}, "services must be a list of tables"),
        ({"services": [{"binding": "A", "service": "a", "props": 1}]}, "props of A must be a table"),
        ({"services": [{"binding": "A", "service": "a"}] * 2}, "two bindings are named A"),
        ({"limits": {"cpu_ms": 300_001}}, "from 1 to 300000"),
        ({"compatibility_flags": "python_workers"}, "must be a list of flags"),
        ({"env": []}, "env must be a table"),
        ({"assets": {"binding": "A"}}, "assets: 'directory' is missing"),
        ({"assets": {"directory": "nowhere"}}, "does not exist"),
        ({"assets": {"directory": ".", "html_handling": "magic"}}, "html_handling must be one of auto-trailing-slash"),
        ({"assets": {"directory": ".", "not_found_handling": "x"}}, "not_found_handling must be one of none"),
        ({"assets": {"directory": ".", "run_worker_first": ["api"]}}, "must begin with / or !/"),
        ({"assets": {"directory": ".", "run_worker_first": ["!/api"]}}, "exceptions only"),
    ],
)
def test_mistakes(tmp_path, keys: dict[str, object], phrase: str) -> None:
    with pytest.raises(ConfigError, match=phrase):
        read(tmp_path, "x" if "env" in keys else None, **keys)


@pytest.mark.parametrize("name", config.NAMES)
def test_files_are_looked_for_in_order(tmp_path, name: str) -> None:
    for each in config.NAMES[config.NAMES.index(name) :]:
        (tmp_path / each).write_text("")
    assert config.find(str(tmp_path)) == str(tmp_path / name)
