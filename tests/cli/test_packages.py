"""What a program needs and is not installed."""

from __future__ import annotations

import os

import pytest
from packaging.requirements import Requirement
from perdure.cli.packages import installed, provide
from perdure.engine.errors import ConfigError
from perdure.sdk.installed import SITE_VARIABLE
from perdure.sdk.requirements import missing, required


def texts(folder) -> list[str]:
    return [str(each) for each in required(str(folder))]


def test_requirements_of_a_project(tmp_path) -> None:
    (tmp_path / "requirements.txt").write_text("not-read")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\ndependencies = ["click>=8", "Workers_Py", "old; python_version < \'3\'"]\n'
        '[dependency-groups]\ndev = ["workers-runtime-sdk"]\n'
    )
    assert texts(tmp_path) == ["click>=8"]
    (tmp_path / "pyproject.toml").write_text("[tool.x]\n")
    assert texts(tmp_path) == []
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = 5\n")
    with pytest.raises(ConfigError, match="must be a list of texts"):
        texts(tmp_path)


def test_requirements_of_a_list(tmp_path) -> None:
    (tmp_path / "app.py").write_text("")
    (tmp_path / "requirements.txt").write_text("# comment\n-r other.txt\nclick # why\n./local\npackaging>=1\n\n")
    assert texts(tmp_path / "app.py") == ["click", "packaging>=1"]
    (tmp_path / "requirements.txt").write_text("what is this\n")
    with pytest.raises(ConfigError, match="is no requirement"):
        texts(tmp_path)


def test_what_is_missing() -> None:
    found = missing(Requirement(text) for text in ("click", "click>=999", "no-such-package-here", "packaging>=1"))
    assert [str(each) for each in found] == ["click>=999", "no-such-package-here"]


def test_it_is_said_with_the_command(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv(SITE_VARIABLE, raising=False)
    (tmp_path / "requirements.txt").write_text("no-such-package-here\n")
    provide([str(tmp_path)], install=False)
    said = capsys.readouterr().err
    assert "the program needs 'no-such-package-here'" in said
    assert "pip install 'no-such-package-here'" in said
    assert "--install" in said
    assert SITE_VARIABLE not in os.environ


def test_it_is_installed_once_and_wholly(tmp_path) -> None:
    commands: list[list[str]] = []
    fails = False

    def run(command) -> int:
        commands.append(list(command))
        if "venv" in command:
            os.makedirs(f"{command[-1]}/lib")
        return 1 if fails and "pip" in command else 0

    wanted = [Requirement("b"), Requirement("a>=1")]
    fails = True
    with pytest.raises(ConfigError, match="a>=1, b cannot be installed"):
        installed(wanted, str(tmp_path / "home"), run)
    assert os.listdir(tmp_path / "home") == []
    fails = False
    first = installed(wanted, str(tmp_path / "home"), run)
    assert commands[-1][-2:] == ["a>=1", "b"]
    count = len(commands)
    assert installed(reversed(wanted), str(tmp_path / "home"), run) == first
    assert len(commands) == count
    assert first.startswith(str(tmp_path / "home"))
    assert first.endswith("site-packages")
    assert installed([Requirement("c")], str(tmp_path / "home"), run) != first
