"""`perdure costs`: what a month would cost by a tariff, from what a runtime has measured or from what is planned."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from typing import Protocol, cast

import click

from ..engine.clock import SystemClock
from ..engine.errors import ConfigError, DataFolderError, NotConnected
from ..router.addresses import find_address
from ..router.client import connect
from ..router.slots import GROUPS
from ..shards.bill import Usage, bill
from ..shards.catalogue import Catalogue
from ..shards.measured import Measured, measure
from ..shards.months import days_of_month, month_of
from ..shards.ownership import DataFolder
from ..shards.tariff import REFERENCE, load_tariff
from ..shards.workload import read_workloads, together
from .bill_table import print_bill, print_json

_JSON = click.option("--json", "as_json", is_flag=True, help="one JSON object instead of tables")
_TARIFF = click.option("--tariff", metavar="FILE", help="prices [those of the reference]; see `perdure costs tariff`")


class Operator(Protocol):
    """What is needed of a client of the running runtime."""

    @property
    def shards(self) -> list[int]: ...

    def operate(self, target: bytes | int, operation: str, **arguments: object) -> Awaitable[object]: ...


@click.group(invoke_without_command=True)
@click.option("--data", metavar="FOLDER", help="data folder [the runtime of this user that is running]")
@_TARIFF
@click.option("--month", metavar="YYYY-MM", help="[this month, in UTC]")
@click.option("--by", type=click.Choice(["class", "object"]), default="class", help="whose shares are shown [class]")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="objects shown, by active time [20]")
@_JSON
@click.pass_context
def costs(
    context: click.Context,
    data: str | None,
    tariff: str | None,
    month: str | None,
    by: str,
    limit: int,
    as_json: bool,
) -> None:
    """Show what was measured in a month as a bill. What is stored is billed as it is now, for the whole month."""
    if context.invoked_subcommand is not None:
        return
    prices = load_tariff(tariff)
    month = month or month_of(SystemClock().now_ms())
    first_day, last_day = days_of_month(month)
    found = collect(data, first_day, last_day, limit if by == "object" else 0)
    parts = found.by_object() if by == "object" else found.by_class()
    result = bill(found.usage(), prices, list(found.by_day().values()))
    if as_json:
        print_json(result, parts, by, {"month": month})
    else:
        print_bill(result, parts, by)


@costs.command("estimate")
@click.argument("file", metavar="FILE")
@_TARIFF
@_JSON
def estimate(file: str, tariff: str | None, as_json: bool) -> None:
    """Show what the month of FILE (TOML or .json; see docs/costs.md) would cost."""
    prices = load_tariff(tariff)
    uses = read_workloads(_read(file), file)
    parts: dict[str, Usage] = uses if len(uses) > 1 else {}
    result = bill(together(uses), prices)
    if as_json:
        print_json(result, parts, "workload", {})
    else:
        print_bill(result, parts, "workload")


@costs.command("tariff")
def tariff() -> None:
    """Print the reference's tariff, to begin one's own with."""
    click.echo(REFERENCE, nl=False)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text: {error}") from error


# ---------------------------------------------------------------------- where the figures come from
def collect(data: str | None, first_day: int, last_day: int, objects_max: int) -> Measured:
    """From the running runtime, or from a data folder that none has open. Raises NotConnected, DataFolderError."""
    if data is None:
        return asyncio.run(from_running(find_address(), first_day, last_day, objects_max))
    address = _address_in(data)
    if address is not None:
        with contextlib.suppress(NotConnected):  # after a kill -9 the address is still there: the folder's lock decides
            return asyncio.run(from_running(address, first_day, last_day, objects_max))
    return from_folder(data, first_day, last_day, objects_max)


def _address_in(data: str) -> str | None:
    try:
        with open(f"{data}/address") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


async def from_running(address: str, first_day: int, last_day: int, objects_max: int) -> Measured:
    """Ask all shards: files that a shard owns are opened by nobody else."""
    async with connect(address) as client:
        return await ask(cast("Operator", client), first_day, last_day, objects_max)


async def ask(operator: Operator, first_day: int, last_day: int, objects_max: int) -> Measured:
    """What all shards have measured, merged."""
    answers = await asyncio.gather(
        *[
            operator.operate(shard, "measured", first_day=first_day, last_day=last_day, objects_max=objects_max)
            for shard in operator.shards
        ]
    )
    found = Measured()
    for answer in answers:
        found = found.merge(Measured.from_wire(answer), objects_max)
    return found


def from_folder(data: str, first_day: int, last_day: int, objects_max: int) -> Measured:
    """Read the catalogue of a stopped runtime while holding the folder's lock, so that none starts meanwhile."""
    if not os.path.exists(f"{data}/FORMAT"):
        raise DataFolderError(f"{data} is no data folder", hint="--data names the folder that `perdure run --data` has")
    folder = DataFolder.open(data)
    try:
        return measure(Catalogue(folder.path, range(GROUPS)), first_day, last_day, objects_max)
    finally:
        folder.close()
