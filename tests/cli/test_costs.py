"""`perdure costs`: its figures are those of the bill, whether measured or planned; and what it says of a wrong file."""

from __future__ import annotations

import asyncio
import json
from fractions import Fraction

import pytest
from click.testing import CliRunner
from perdure.cli.bill_table import exact
from perdure.cli.costs import ask, collect, costs
from perdure.engine.errors import ConfigError, DataFolderError, PerdureError, ProtocolError
from perdure.engine.meters import Meters
from perdure.shards.bill import Usage, bill, shares
from perdure.shards.catalogue import Catalogue, MeterRow, Row
from perdure.shards.measured import Measured, measure
from perdure.shards.months import days_of_month, month_of
from perdure.shards.ownership import DataFolder
from perdure.shards.tariff import load_tariff
from perdure.shards.workload import read_workloads, together

DAY, LAST = days_of_month("2026-11")
ONE, TWO, FAR = bytes(32), b"\x01" + bytes(31), b"\xff" * 32


def run(*arguments: str) -> str:
    """What the command prints, piped. Raises what it raises."""
    done = CliRunner().invoke(costs, list(arguments), catch_exceptions=False, standalone_mode=False)
    return done.output


def fill(data: str) -> Catalogue:
    """Two classes over two groups and days, and one row of October."""
    DataFolder.open(data).close()
    catalogue = Catalogue(data, range(64))
    catalogue.write(
        [Row(ONE, "w-C", "one", 4_000, 1), Row(TWO, "w-C", None, 8_000, 1), Row(FAR, "w-D", "far", 1_000, 1)]
    )
    catalogue.add_meters(0, [MeterRow(DAY - 1, "w-C", ONE, Meters(requests=1_000))])
    catalogue.add_meters(0, [MeterRow(DAY, "w-C", ONE, Meters(requests=3, active_us=500_000))])
    catalogue.add_meters(0, [MeterRow(LAST, "w-C", ONE, Meters(requests=4, messages=20, active_us=500_000))])
    catalogue.add_meters(0, [MeterRow(DAY, "w-C", TWO, Meters(requests=1, active_us=2_000_000, rows_read=7))])
    catalogue.add_meters(63, [MeterRow(DAY, "w-D", FAR, Meters(requests=2, active_us=1_500_000, rows_written=5))])
    return catalogue


# ---------------------------------------------------------------------- measured
def test_a_stopped_runtime_s_folder_gives_the_bill_of_a_month(tmp_path) -> None:
    data = str(tmp_path / "data")
    fill(data)
    found = json.loads(run("--data", data, "--month", "2026-11", "--json"))
    lines = {line["meter"]: line for line in found["lines"]}
    assert (found["month"], found["tariff"], found["total"], found["base_fee"]) == ("2026-11", "reference", "5", "5")
    assert lines["requests"]["used"] == "11"  # 3 + 4 + 1 + 2, and 20 messages
    assert lines["gb_s"]["used"] == exact(Fraction(9, 2) * Fraction(128, 1000)) == "0.576"
    assert (lines["rows_read"]["used"], lines["rows_written"]["used"]) == ("7", "5")
    assert lines["stored_gb"]["used"] == "0.000013"
    assert found["parts"]["w-C"]["requests"] == "9"
    assert found["parts"]["w-D"]["requests"] == "2"
    assert found["over_free"] == []


def test_by_object_the_most_active_come_first(tmp_path) -> None:
    data = str(tmp_path / "data")
    fill(data)
    parts = json.loads(run("--data", data, "--month", "2026-11", "--by", "object", "--limit", "2", "--json"))["parts"]
    assert list(parts) == [f"w-C/{TWO.hex()}", "w-D/far"]
    everything = json.loads(run("--data", data, "--month", "2026-11", "--by", "object", "--json"))["parts"]
    assert list(everything) == [f"w-C/{TWO.hex()}", "w-D/far", "w-C/one"]
    assert everything["w-C/one"]["requests"] == "8"


def test_piped_it_is_plain_text(tmp_path) -> None:
    data = str(tmp_path / "data")
    fill(data)
    lines = run("--data", data, "--month", "2026-10").splitlines()
    assert lines[0].split() == ["meter", "used", "included", "billed", "price", "amount", "USD"]
    assert lines[1] == "requests        1,000       1,000,000       0   0.15 / 1,000,000        0.00"
    assert lines[-1] == "This fits the plan without a fee."
    assert any(line.split() == ["total", "5.00"] for line in lines)
    assert not any(character in "".join(lines) for character in "\x1b│┃")


def test_a_tariff_of_one_s_own(tmp_path) -> None:
    data = str(tmp_path / "data")
    fill(data)
    prices = tmp_path / "own.toml"
    prices.write_text(
        'name = "own"\nbilling = "pro_rata"\n[meters.requests]\nprice = 1\n[meters.rows_written]\nprice = 0.1\n'
    )
    found = json.loads(run("--data", data, "--month", "2026-11", "--tariff", str(prices), "--json"))
    assert (found["tariff"], found["total"]) == ("own", "11.5")
    assert (found["parts"]["w-C"]["amount"], found["parts"]["w-D"]["amount"]) == ("9", "2.5")


def test_a_folder_in_use_or_none_at_all_is_refused(tmp_path) -> None:
    with pytest.raises(DataFolderError, match="is no data folder"):
        collect(str(tmp_path), DAY, LAST, 0)
    held = DataFolder.open(str(tmp_path / "data"))
    with pytest.raises(DataFolderError, match="in use"):
        collect(str(tmp_path / "data"), DAY, LAST, 0)
    held.close()
    assert not (tmp_path / "FORMAT").exists()


class Shards:
    """What a client of a runtime of two shards gives."""

    shards = [0, 1]

    def __init__(self, catalogues: list[Catalogue], broken: object = None) -> None:
        self.catalogues = catalogues
        self.broken = broken

    async def operate(self, target: bytes | int, operation: str, **arguments: object) -> object:
        assert operation == "measured"
        assert isinstance(target, int)
        if self.broken is not None:
            return self.broken
        return measure(self.catalogues[target], **arguments).to_wire()  # type: ignore[arg-type]


def test_a_running_runtime_is_asked_shard_by_shard(tmp_path) -> None:
    data = str(tmp_path / "data")
    fill(data)
    operator = Shards([Catalogue(data, range(0, 64, 2)), Catalogue(data, range(1, 64, 2))])
    merged = asyncio.run(ask(operator, DAY, LAST, 2))
    whole = measure(Catalogue(data, range(64)), DAY, LAST, 2)
    assert merged.usage() == whole.usage()
    assert merged.by_class() == whole.by_class()
    assert merged.by_object() == whole.by_object()
    assert merged.by_day() == whole.by_day()
    with pytest.raises(ProtocolError, match="malformed"):
        asyncio.run(ask(Shards([], {"days": [[1]]}), DAY, LAST, 2))


def test_names_and_the_key_value_backend_come_from_the_program() -> None:
    from perdure.shards.catalogue import StoredRow

    found = Measured(stored=(StoredRow("w-C", 1, 5),), names={"w-C": "C"}, kv_classes=frozenset({"w-C"}))
    assert Measured.from_wire(found.to_wire()).by_class() == {"C": Usage(kv_stored_bytes=Fraction(5))}


def test_what_the_parts_have_caused_is_the_bill_without_its_base_fee() -> None:
    parts = {
        "a": Usage(requests=Fraction(3_000_000)),
        "b": Usage(requests=Fraction(1_000_000), active_s=Fraction(10**7)),
    }
    found = bill(together(parts), load_tariff(None))
    caused = shares(found, parts)
    assert sum(caused.values()) == found.total - 5
    assert caused["a"] == Fraction("0.45") * Fraction(3, 4)


# ---------------------------------------------------------------------- planned
EXAMPLE_2 = """\
[[workloads]]
name = "rooms"
objects = 100
connections = 1500      # 50 clients, once a day
messages = 720_000      # of 50 clients, one a minute, 8 hours a day
active_s = 864_000
"""


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_an_estimate_is_the_worked_example(tmp_path, kind: str) -> None:
    path = tmp_path / f"plan.{kind}"
    as_json = {"workloads": [{"objects": 100, "connections": 1500, "messages": 720_000, "active_s": 864_000}]}
    path.write_text(EXAMPLE_2 if kind == "toml" else json.dumps(as_json))
    found = json.loads(run("estimate", str(path), "--json"))
    assert found["total"] == "142.95"
    assert [(line["meter"], line["over"], line["billed"], line["amount"]) for line in found["lines"][:2]] == [
        ("requests", "2750000", "3000000", "0.45"),
        ("gb_s", "10659200", "11000000", "137.5"),
    ]
    assert found["over_free"] == ["requests", "gb_s"]
    assert "142.95" in run("estimate", str(path))


def test_totals_and_workloads_add_up() -> None:
    uses = read_workloads("requests = 5\n[[workloads]]\nobjects = 2\nrequests = 0.5\nalarms = 3\n", "plan.toml")
    assert list(uses) == ["total", "workload 1"]
    assert together(uses) == Usage(requests=Fraction(6), alarms=Fraction(6))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("request = 1", "unknown key 'request'", "did you mean requests?"),
        ("[[workloads]]\nactive = 1", "unknown key 'active'", "did you mean active_s?"),
        ("[[workloads]]\nrequests = 1\nobjects = -1", "objects must be 0 or more", ""),
        ("requests = '1x'", "must be a number", ""),
        ("workloads = 1", "must be a list", "[[workloads]]"),
        ("workloads = [1]", "must be a table", ""),
        ("[[workloads]]\nname = 1", "name must be a text", ""),
        ("[[workloads]]\nname = 'a'\n[[workloads]]\nname = 'a'", "two workloads are called 'a'", "of its own"),
        ("", "names nothing", "workloads"),
        ("[", "is not TOML", ".json"),
    ],
)
def test_a_wrong_plan_says_what_to_change(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_workloads(text, "plan.toml")
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_a_wrong_json_plan(tmp_path) -> None:
    for text in ("[", "[1]", '{"requests": NaN}', '{"requests": Infinity}', '{"requests": null}'):
        with pytest.raises(ConfigError):
            read_workloads(text, "plan.json")
    with pytest.raises(PerdureError, match="cannot read"):
        run("estimate", str(tmp_path / "none.toml"))


def test_the_tariff_command_prints_what_can_be_read_again(tmp_path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(run("tariff"))
    assert load_tariff(str(path)) == load_tariff(None)


# ---------------------------------------------------------------------- months
def test_months() -> None:
    assert days_of_month("1970-01") == (0, 30)
    assert days_of_month("2024-02")[1] - days_of_month("2024-02")[0] == 28
    assert days_of_month("2026-12")[1] + 1 == days_of_month("2027-01")[0]
    assert month_of(days_of_month("2026-11")[0] * 86_400_000) == "2026-11"
    for wrong in ("2026", "2026-13", "2026-1", "26-01", "2026-011", "x"):
        with pytest.raises(ConfigError, match="is no month"):
            days_of_month(wrong)


def test_exact_numbers() -> None:
    assert [exact(Fraction(text)) for text in ("5", "0.576", "1/8", "1/3", "-1/4")] == [
        "5",
        "0.576",
        "0.125",
        "0.333333333333",
        "-0.25",
    ]
