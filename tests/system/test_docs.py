"""What the README and the tutorial show is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from ..docs import blocks
from .runtime import EXAMPLES, PERDURE, ROOT, serving

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/tutorial.md",
        "docs/objects.md",
        "docs/point-in-time.md",
        "docs/schema.md",
        "docs/examples.md",
        "docs/patterns.md",
    ],
)
def test_pages(tmp_path, page: str) -> None:
    with open(f"{ROOT}/{page}") as file:
        found = blocks(file.read())
    assert found
    for number, block in enumerate(found):
        if block.kind == "file":
            path = tmp_path / block.target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            continue
        program = str(tmp_path / block.target)
        if not os.path.exists(program):
            program = f"{EXAMPLES}/{block.target}"
        with serving(program, str(tmp_path / f"data{number}")) as runtime:
            for command, expected in block.commands():
                here = command.replace("localhost:8787", runtime.url.removeprefix("http://")).replace(
                    "curl", "curl -s", 1
                )
                path = f"{os.path.dirname(PERDURE)}:{os.environ['PATH']}"
                env = {**os.environ, "PATH": path, "PERDURE_ADDRESS": runtime.address}
                done = subprocess.run(
                    ["sh", "-c", here], capture_output=True, text=True, timeout=20, check=True, env=env, cwd=tmp_path
                )
                assert done.stdout == expected, f"{command}\n{done.stderr}"


def test_the_first_command_of_the_readme(tmp_path) -> None:
    """scripts/run itself, on a free port; the settings that the page on operating shows are read as well."""
    process = subprocess.Popen(
        [f"{ROOT}/scripts/run", "--port", "0", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        url = line.split()[1]
        assert line.startswith("ready http://127.0.0.1:")
        done = subprocess.run(
            ["curl", "-s", "-X", "POST", f"{url}/counter/a/increment"], capture_output=True, text=True, check=True
        )
        assert done.stdout == "1\n"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    for word in ("program", "classes", "data", "shards", "curl", "Ctrl-C"):
        assert word in said
    assert process.returncode == 0


def test_supervisor_script_reads_file_environment_and_flags(tmp_path) -> None:
    config = tmp_path / "perdure.toml"
    config.write_text(f'program = "{EXAMPLES}/counter"\ndata = "data"\nport = 0\nshards = 3\n')
    process = subprocess.Popen(
        [f"{ROOT}/scripts/supervisor", "--config", str(config), "--gateways", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PERDURE_SHARDS": "1"},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("ready ")
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert "1 shards, 2 gateways" in said
    assert (tmp_path / "data" / "objects").exists() or (tmp_path / "data" / "FORMAT").exists()


def test_new_makes_a_program_that_serves(tmp_path) -> None:
    subprocess.run([PERDURE, "new", "hello"], cwd=tmp_path, check=True, capture_output=True)
    with serving(str(tmp_path / "hello"), str(tmp_path / "data")) as runtime:
        for expected in ("1\n", "2\n"):
            done = subprocess.run(
                ["curl", "-s", "-X", "POST", f"{runtime.url}/a"], capture_output=True, text=True, check=True
            )
            assert done.stdout == expected
    again = subprocess.run([PERDURE, "new", "hello"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_the_configuration_page_is_true(tmp_path) -> None:
    from perdure.cli.settings import read_file

    with open(f"{ROOT}/docs/operating.md") as file:
        (block,) = [b for b in blocks(file.read()) if b.kind == "file"]
    path = tmp_path / "perdure.toml"
    path.write_text(block.text)
    assert read_file(str(path))["shards"] == 4


def test_the_embedding_snippet_of_the_readme_compiles() -> None:
    with open(f"{ROOT}/README.md") as file:
        text = file.read()
    snippet = re.findall(r"```python\n(import perdure.*?)```", text, re.DOTALL)
    assert len(snippet) == 1
    indented = "".join(f"    {line}\n" for line in snippet[0].splitlines())
    compile(f"async def snippet():\n{indented}", "README.md", "exec")
    assert sys.version_info >= (3, 11)
