"""Where a setting comes from."""

from __future__ import annotations

import pytest
from perdure.cli.settings import default_data, read_environment, read_file, resolve
from perdure.engine.errors import ConfigError
from perdure.engine.limits import Limits


@pytest.fixture
def program(tmp_path) -> str:
    path = tmp_path / "app.py"
    path.write_text("")
    return str(path)


def test_flag_then_environment_then_file_then_default(program: str) -> None:
    file = {"port": 1, "shards": 1, "gateways": 1, "host": "::1"}
    found = resolve({"program": program, "port": 3, "shards": None}, {"PERDURE_PORT": "2", "PERDURE_SHARDS": "2"}, file)
    assert (found.port, found.shards, found.gateways, found.host, found.drain_s) == (3, 2, 1, "::1", 25.0)


def test_each_program_has_its_own_data_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "app.py").write_text("")
        paths.append(resolve({"program": str(tmp_path / folder / "app.py")}, {}, {}).data)
    assert paths[0] != paths[1]
    assert all(path.startswith(str(tmp_path / "state" / "perdure" / "app-")) for path in paths)


def test_unknown_keys_and_wrong_types_are_errors(tmp_path) -> None:
    path = tmp_path / "perdure.toml"
    path.write_text("prot = 1")
    with pytest.raises(ConfigError, match="unknown key 'prot'") as caught:
        read_file(str(path))
    assert "port" in caught.value.hint
    path.write_text('port = "1"')
    with pytest.raises(ConfigError, match="port must be int"):
        read_file(str(path))
    path.write_text("port = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_file(str(path))
    with pytest.raises(ConfigError, match="cannot read"):
        read_file(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="PERDURE_PORT must be int"):
        read_environment({"PERDURE_PORT": "x"})


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"shards": 0}, "shards must be"),
        ({"port": 99999}, "port must be"),
        ({"gateways": 100}, "gateways must be"),
        ({"tls_key": "k"}, "both a certificate and a key"),
        ({"router": "tcp://127.0.0.1:1"}, "needs CURVE keys"),
    ],
)
def test_setups_that_cannot_be(program: str, change, phrase: str) -> None:
    with pytest.raises(ConfigError, match=phrase):
        resolve({"program": program, **change}, {}, {})


def test_quotas_are_a_table_of_the_file(tmp_path, program: str) -> None:
    path = tmp_path / "perdure.toml"
    path.write_text("[quotas]\nrequests_per_day = 5\n")
    assert resolve({"program": program}, {}, read_file(str(path))).quotas == {"requests_per_day": 5}
    assert resolve({"program": program}, {}, {}).quotas == {}
    path.write_text("[quotas]\nrequests_per_dya = 5\n")
    with pytest.raises(ConfigError, match="unknown quota 'requests_per_dya'") as caught:
        resolve({"program": program}, {}, read_file(str(path)))
    assert "did you mean requests_per_day?" in caught.value.hint
    with pytest.raises(ConfigError, match="quotas must be a table"):
        resolve({"program": program}, {}, {"quotas": 5})
    path.write_text("[quota]\n")
    with pytest.raises(ConfigError, match="unknown key 'quota'") as caught:
        read_file(str(path))
    assert "quotas" in caught.value.hint


def test_limits_are_checked() -> None:
    assert Limits.from_settings({"open_databases_max": 5}).open_databases_max == 5
    assert Limits.from_settings({"soft_limit_enforce": True}).soft_limit_enforce is True
    with pytest.raises(ConfigError, match="soft_limit_enforce must be true or false, got 1"):
        Limits.from_settings({"soft_limit_enforce": 1})
    with pytest.raises(ConfigError, match="mailbox_length_max must be a whole number, got True"):
        Limits.from_settings({"mailbox_length_max": True})
    for bad in ({"nothing": 1}, {"open_databases_max": 0}, {"open_databases_max": "x"}, {"open_databases_max": 1.5}):
        with pytest.raises(ConfigError):
            Limits.from_settings(bad)


def test_bounds_of_classes_are_checked_as_far_as_they_can_be(program: str) -> None:
    setup = resolve({"program": program}, {}, {"classes": {"Room": {"history_days": 7}}})
    assert setup.classes == {"Room": {"history_days": 7}}
    with pytest.raises(ConfigError, match="classes must be a table"):
        resolve({"program": program}, {}, {"classes": 7})
    with pytest.raises(ConfigError, match="unknown bound 'history_dasy'"):
        resolve({"program": program}, {}, {"classes": {"Room": {"history_dasy": 7}}})


def test_several_programs(tmp_path) -> None:
    for name in ("a.py", "b.py", "perdure.toml"):
        (tmp_path / name).write_text("")
    path = tmp_path / "perdure.toml"
    path.write_text('programs = ["a.py", "b.py"]')
    first, second = str(tmp_path / "a.py"), str(tmp_path / "b.py")
    found = resolve({}, {}, read_file(str(path)))
    assert found.programs == (first, second)
    assert found.data == default_data(first)
    assert resolve({"programs": [second]}, {}, read_file(str(path))).programs == (second,)
    assert resolve({}, {"PERDURE_PROGRAM": second}, read_file(str(path))).programs == (second,)
    path.write_text('programs = ["a.py"]\nprogram = "b.py"')
    with pytest.raises(ConfigError, match="exclude each other"):
        read_file(str(path))
    path.write_text('programs = "a.py"')
    with pytest.raises(ConfigError, match="must be a list of paths"):
        read_file(str(path))
    with pytest.raises(ConfigError, match="there is no program at"):
        resolve({"programs": [first, str(tmp_path / "c.py")]}, {}, {})


def test_tables_of_bindings(program: str) -> None:
    ai, r2 = (
        {"url": "http://localhost/v1", "models": {"a": "b"}},
        {"files": {"endpoint": "http://s3", "allow_http": True}},
    )
    setup = resolve({"program": program}, {}, {"ai": ai, "r2": r2})
    assert setup.bindings == {"ai": ai, "r2": r2}
    for table, message in [
        ({"ai": {"adress": "x"}}, "ai: unknown key 'adress'"),
        ({"ai": {"url": 1}}, "ai: url must be text"),
        ({"r2": {"files": {"secret": "x"}}}, "r2.files: unknown key 'secret'.*AWS_SECRET_ACCESS_KEY"),
        ({"r2": {"files": {"allow_http": "x"}}}, "r2.files: allow_http must be true or false"),
        ({"r2": {"endpoint": "x"}}, "r2.endpoint must be a table"),
        ({"ai": 1}, "ai must be a table"),
    ]:
        with pytest.raises(ConfigError, match=message):
            resolve({"program": program}, {}, table)
