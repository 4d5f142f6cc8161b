"""Pages with files and tests in them: they are written to a folder, and the tests are run there."""

from __future__ import annotations

import os
import re

import pytest

from .test_doors import pytest_in

DOCS = os.path.join(os.path.dirname(__file__), "../../docs")


def files(page: str) -> dict[str, str]:
    with open(os.path.join(DOCS, page)) as file:
        return dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", file.read(), re.S))


@pytest.mark.slow
@pytest.mark.parametrize(("page", "tests_min"), [("testing.md", 9), ("fetch.md", 2)])
def test_the_examples_pass(tmp_path, page: str, tests_min: int):
    found = files(page)
    for name, text in found.items():
        (tmp_path / name).write_text(text)
    tests = sum(text.count("def test_") for text in found.values())
    assert tests >= tests_min
    said = pytest_in(tmp_path, "-p", "no:randomly")
    assert f"{tests} passed" in said, said
