"""What `pip install` copies: every file that the program reads is in the package, not only in the checkout."""

from __future__ import annotations

import configparser
import fnmatch
import pathlib
import shutil

from perdure.cli.new import copy

ROOT = pathlib.Path(__file__).parent.parent
SETTINGS = configparser.ConfigParser()
SETTINGS.read(ROOT / "setup.cfg")


def test_every_template_is_installed():
    """A folder's `*` does not reach into the folders below it."""
    patterns = SETTINGS["options.package_data"]["perdure.cli"].split()
    for path in (ROOT / "cli" / "templates").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(ROOT / "cli")
            assert any(
                fnmatch.fnmatch(str(name), pattern) and pattern.count("/") == len(name.parts) - 1
                for pattern in patterns
            ), name


def test_every_package_is_installed():
    packages = SETTINGS["options"]["packages"].split()
    for made in ROOT.glob("*/__init__.py"):
        name = made.parent.name
        assert f"perdure.{name}" in packages or name in ("tests", "bench"), name


def test_a_new_program_has_no_compiled_files(tmp_path):
    """pip compiles the template too."""
    shutil.copytree(ROOT / "cli" / "templates", tmp_path / "templates")
    compiled = tmp_path / "templates" / "src" / "__pycache__"
    compiled.mkdir(exist_ok=True)
    (compiled / "entry.cpython-311.pyc").write_bytes(b"\xa7\r\r\n")
    copy(str(tmp_path / "templates"), str(tmp_path / "hello"), "hello")
    assert sorted(str(path.relative_to(tmp_path / "hello")) for path in (tmp_path / "hello").rglob("*")) == [
        "src",
        "src/entry.py",
        "wrangler.jsonc",
    ]
    assert '"name": "hello"' in (tmp_path / "hello" / "wrangler.jsonc").read_text()
