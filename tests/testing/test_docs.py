"""docs/testing.md: its files are written to a folder, and its tests are run there."""

from __future__ import annotations

import os
import re

import pytest

from .test_doors import pytest_in

PAGE = os.path.join(os.path.dirname(__file__), "../../docs/testing.md")


def files() -> dict[str, str]:
    with open(PAGE) as file:
        return dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", file.read(), re.S))


@pytest.mark.slow
def test_the_examples_pass(tmp_path):
    found = files()
    for name, text in found.items():
        (tmp_path / name).write_text(text)
    tests = sum(text.count("def test_") for text in found.values())
    assert tests >= 9
    said = pytest_in(tmp_path, "-p", "no:randomly")
    assert f"{tests} passed" in said, said
