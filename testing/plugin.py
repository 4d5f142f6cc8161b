"""The pytest plugin: the fixture `world`, `async def` tests that use it, and the options of simulations.

What always holds: it does nothing to tests that do not ask for a world, and imports nothing heavy before one does.
"""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from .settings import SETTINGS

if TYPE_CHECKING:
    from .world import World

_NO_PROGRAM = """no program for the fixture `world`: declare DurableObject classes in the test's module, put a wrangler file \
into a folder above it, mark the test with @pytest.mark.perdure(program="app.py"), or define a fixture `perdure_program`"""
_CONFIGURATIONS = ("wrangler.jsonc", "wrangler.json", "wrangler.toml")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--perdure-seed, --perdure-seeds, and the ini value `perdure_program`."""
    group = parser.getgroup("perdure", "perdure: simulations")
    group.addoption("--perdure-seed", type=int, default=None, help="repeat that seed of a simulation, and no other")
    group.addoption("--perdure-seeds", type=int, default=None, help="how many seeds a simulation has")
    parser.addini("perdure_program", "the program of the fixture `world`: a folder or a Python file", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Take the options."""
    config.addinivalue_line("markers", "perdure(program=None, shards=1, ...): the world of a test; options as of World")
    seed, seeds = config.getoption("--perdure-seed"), config.getoption("--perdure-seeds")
    if seed is not None:
        SETTINGS.seed = seed
    if seeds is not None:
        SETTINGS.seeds = seeds


@pytest.fixture
def perdure_program(request: pytest.FixtureRequest) -> object:
    """The program of `world`: what the mark says, the test's own classes, the ini value, or the wrangler file above the test."""
    module = request.node.module
    from .programs import declared

    if declared(module):
        return module
    named = str(request.config.getini("perdure_program"))
    if named:
        return str(request.config.rootpath / named)
    for folder in pathlib.Path(request.node.path).parents:
        if any((folder / name).is_file() for name in _CONFIGURATIONS):
            return str(folder)
        if folder == request.config.rootpath:
            break
    return None


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Generator[World, None, None]:
    """A world of the program, begun anew for each test."""
    from ..engine.errors import ConfigError
    from .virtual import VirtualLoop
    from .world import World

    marker = request.node.get_closest_marker("perdure")
    options: dict[str, Any] = dict(marker.kwargs) if marker is not None else {}
    given = marker.args[0] if marker is not None and marker.args else None
    program = options.pop("program", None) or given or request.getfixturevalue("perdure_program")
    if program is None:
        pytest.fail(_NO_PROGRAM, pytrace=False)
    loop = VirtualLoop()
    made: World | None = None
    wrong = ""
    try:
        made = World(program, loop=loop, **options)
        made.start()
    except ConfigError as error:
        wrong = f"{error.message}\nhint: {error.hint}" if error.hint else error.message
    if made is None or wrong:
        loop.close()
        # it says all that there is to say: where the runtime found it is no news
        pytest.fail(wrong, pytrace=False)
    try:
        yield made
    finally:
        made.close()
        loop.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests that have a world on its loop."""
    found = pyfuncitem.funcargs.get("world")
    if found is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    from .virtual import NothingHappens
    from .world import World

    if not isinstance(found, World):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]
    stuck = ""
    try:
        found.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    except NothingHappens as error:
        stuck = str(error)
    if stuck:  # where the loop noticed is no news
        pytest.fail(stuck, pytrace=False)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """A failing test tells what happened in its world."""
    outcome = yield
    report = outcome.get_result()
    found: Any = getattr(item, "funcargs", {}).get("world")
    if report.when == "call" and report.failed and found is not None and hasattr(found, "story"):
        report.sections.append(("perdure: what happened in the world", found.story.text()))
