"""`@simulate`: an async test over and over, each time with another seed: other orders, other delays, other deaths.

What always holds: a run depends on its seed alone (beside the test and the program), so a failing one is repeated exactly by
`--perdure-seed=N`; a failure says which seed it was and tells the story of its run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast, overload

from ..engine.errors import InvalidArgument
from .programs import Source
from .schedule import Explorer, Survey, Victims
from .settings import SETTINGS
from .traces import begin_at_theirs
from .virtual import VirtualLoop
from .world import World

SEEDS = 200
Test = Callable[..., Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its seed, the digest of its story (the same for the same run), and what failed it."""

    seed: int
    digest: str
    error: BaseException | None
    story: str


class Simulation:
    """The runs of one test. `options`: of World."""

    def __init__(self, test: Test, program: Source, *, crashes: bool = True, **options: Any) -> None:
        self._test = test
        self._program = program
        self._crashes = crashes
        self._options = options
        self._survey: Survey | None = None

    def run(self, seed: int, *arguments: object, **named: object) -> Run:
        """One run. The calm one comes first, once, whatever the seed: the others are planned by what it shows."""
        if self._survey is None:
            self._survey = Survey()
            calm, explorer = self._once(0, arguments, named)
            self._survey.points = explorer.points
            if seed == 0 or calm.error is not None:
                return calm
        return self._once(seed, arguments, named)[0]

    def _once(self, seed: int, arguments: tuple[object, ...], named: dict[str, object]) -> tuple[Run, Explorer]:
        assert self._survey is not None, "the survey is made first"
        explorer = Explorer(seed, self._survey, crashes=self._crashes)
        loop = VirtualLoop()
        world = World(self._program, seed=seed, loop=loop, schedule=explorer, **self._options)
        error: BaseException | None = None
        try:
            world.start()
            explorer.victims = cast("Victims", world.cluster)
            loop.lateness = explorer.lateness if seed else None
            try:
                loop.drive(_named(self._test(*arguments, world=world, **named)))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as failure:  # pytest's own fail() and skip() are none of Exception's
                error = failure
            loop.lateness = None
            explorer.victims = None
            digest, story = world.story.digest(), world.story.text()
        finally:
            world.close()
            loop.close()
        return Run(seed, digest, error, story), explorer


async def _named(work: Coroutine[Any, Any, object]) -> object:
    return await work


def _check(simulation: Simulation, seeds: int, arguments: tuple[object, ...], named: dict[str, object]) -> None:
    """Run the seeds that are to be run; raise what fails the first, with its story."""
    __tracebackhide__ = True
    chosen = range(SETTINGS.seeds or seeds) if SETTINGS.seed is None else [SETTINGS.seed]
    for seed in chosen:
        run = simulation.run(seed, *arguments, **named)
        if run.error is not None:
            run.error.add_note(f"seed {run.seed}: rerun with --perdure-seed={run.seed}\n{run.story}")
            raise begin_at_theirs(run.error)


@overload
def simulate(test: Test, /) -> Callable[..., None]: ...
@overload
def simulate(
    *, seeds: int = SEEDS, crashes: bool = True, program: Source | None = None, **options: Any
) -> Callable[[Test], Callable[..., None]]: ...
def simulate(
    test: Test | None = None,
    /,
    *,
    seeds: int = SEEDS,
    crashes: bool = True,
    program: Source | None = None,
    **options: Any,
) -> Any:
    """Make an `async def test(world)` a test that is run with `seeds` seeds.

    `crashes`: processes are killed and the power is cut, too: the test has to expect ShardLost of its own calls. `program`: as
    for World; None: the classes that the test's module declares. `options`: more of World's, as `shards=2`.
    """

    def decorate(function: Test) -> Callable[..., None]:
        if not inspect.iscoroutinefunction(function):
            raise InvalidArgument(f"@simulate is for `async def`, and {function.__name__} is none")

        @functools.wraps(function)
        def run_all(*arguments: object, **named: object) -> None:
            __tracebackhide__ = True
            source = program if program is not None else _module_of(function)
            _check(Simulation(function, source, crashes=crashes, **options), seeds, arguments, named)

        signature = inspect.signature(function)
        kept = [parameter for parameter in signature.parameters.values() if parameter.name != "world"]
        run_all.__signature__ = signature.replace(parameters=kept)  # pyright: ignore[reportAttributeAccessIssue]
        del run_all.__wrapped__
        return run_all

    return decorate if test is None else decorate(test)


def _module_of(function: Test) -> Source:
    module = inspect.getmodule(function)
    assert module is not None, "a test function stands in a module"
    return cast("Source", module)
