"""Tariffs and bills: every figure of the reference's worked examples, and those of a pro-rata tariff."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from perdure.engine.errors import ConfigError
from perdure.shards.bill import Bill, Line, Usage, bill, metered, money, quantity
from perdure.shards.tariff import METERS, REFERENCE, Billing, Tariff, load_tariff, read_tariff

MILLION = 1_000_000
REFERENCE_TARIFF = load_tariff(None)
PRO_RATA = replace(REFERENCE_TARIFF, billing=Billing.PRO_RATA, gigabyte=1024, base_fee=Fraction(0))


def usage(**counts: int | str) -> Usage:
    return Usage(**{name: Fraction(value) for name, value in counts.items()})


def line(found: Bill, meter: str) -> Line:
    (one,) = [line for line in found.lines if line.meter == meter]
    return one


# The workloads of the spec's worked examples, as its texts describe them.
WORKLOADS = {
    1: usage(requests=1_500_000, active_s=1_000_000),
    2: usage(connections=100 * 50 * 30, messages=100 * 50 * 60 * 8 * 30, active_s=100 * 8 * 3600 * 30),
    3: usage(connections=100, messages=100 * 86_400 * 30, active_s=100 * 86_400 * 30),
    4: usage(connections=100 * 100, messages=100 * 100 * 1_440 * 30, active_s=100 * 1_440 * 30),
}


@pytest.mark.parametrize(
    ("example", "entered", "messages", "twentieth", "total", "over", "billed", "price"),
    [
        (1, 1_500_000, 0, 0, 1_500_000, 500_000, 1, "0.15"),
        (2, 150_000, 72_000_000, 3_600_000, 3_750_000, 2_750_000, 3, "0.45"),
        (3, 100, 259_200_000, 12_960_000, 12_960_100, 11_960_100, 12, "1.80"),
        (4, 10_000, 432_000_000, 21_600_000, 21_610_000, 20_610_000, 21, "3.15"),
    ],
)
def test_worked_examples_requests(
    example: int, entered: int, messages: int, twentieth: int, total: int, over: int, billed: int, price: str
) -> None:
    workload = WORKLOADS[example]
    assert workload.requests + workload.connections == entered
    assert workload.messages == messages
    assert metered(usage(messages=messages), REFERENCE_TARIFF)["requests"] == twentieth
    found = line(bill(workload, REFERENCE_TARIFF), "requests")
    assert (found.used, found.over, found.billed) == (total, over, billed * MILLION)
    assert found.amount == Fraction(price)
    assert money(found.amount) == price


@pytest.mark.parametrize(
    ("example", "active_s", "gb_s", "over", "billed", "price"),
    [
        (1, 1_000_000, 128_000, 0, 0, "0.00"),
        (2, 86_400_000, 11_059_200, 10_659_200, 11, "137.50"),
        (3, 259_200_000, 33_177_600, 32_777_600, 33, "412.50"),
        (4, 4_320_000, 552_960, 152_960, 1, "12.50"),
    ],
)
def test_worked_examples_duration(example: int, active_s: int, gb_s: int, over: int, billed: int, price: str) -> None:
    assert WORKLOADS[example].active_s == active_s
    found = line(bill(WORKLOADS[example], REFERENCE_TARIFF), "gb_s")
    assert (found.used, found.over, found.billed) == (gb_s, over, billed * MILLION)
    assert found.amount == Fraction(price)
    assert money(found.amount) == price


@pytest.mark.parametrize(("example", "total"), [(1, "5.15"), (2, "142.95"), (3, "419.30"), (4, "20.65")])
def test_worked_examples_totals(example: int, total: str) -> None:
    found = bill(WORKLOADS[example], REFERENCE_TARIFF)
    assert found.total == Fraction(total)
    assert money(found.total) == total
    assert found.base_fee == 5


@pytest.mark.parametrize(
    ("workload", "requests", "gb_s", "exact", "shown"),
    [
        (usage(requests=1_500_000, active_s=1_000_000), 1_500_000, 125_000, "0.075", "0.075"),
        (usage(requests=3_750_000, active_s=100 * 8 * 3600 * 30), 3_750_000, 10_800_000, "130.4125", "130.41"),
        (
            usage(messages=100 * 86_400 * 30, active_s=100 * 86_400 * 30),
            12_960_000,
            32_400_000,
            "401.794",
            "401.79",
        ),
        (usage(messages=100 * 86_400 * 30, active_s=100 * 1_440 * 30), 12_960_000, 540_000, "3.544", "3.54"),
    ],
    ids=["a", "b", "c", "d"],
)
def test_pro_rata_without_base_fee(workload: Usage, requests: int, gb_s: int, exact: str, shown: str) -> None:
    found = bill(workload, PRO_RATA)
    assert line(found, "requests").used == requests
    assert line(found, "gb_s").used == gb_s
    assert found.total == Fraction(exact)
    assert money(found.total) == shown


def test_a_connection_each_changes_no_cent_of_the_pro_rata_example() -> None:
    workload = usage(connections=100, messages=100 * 86_400 * 30, active_s=100 * 86_400 * 30)
    assert money(bill(workload, PRO_RATA).total) == "401.79"


@pytest.mark.parametrize(
    ("meter", "included", "unit", "price"),
    [
        ("requests", MILLION, MILLION, "0.15"),
        ("gb_s", 400_000, MILLION, "12.50"),
        ("rows_read", 25_000 * MILLION, MILLION, "0.001"),
        ("rows_written", 50 * MILLION, MILLION, "1.00"),
        ("stored_gb", 5, 1, "0.20"),
        ("kv_read_units", MILLION, MILLION, "0.20"),
        ("kv_write_units", MILLION, MILLION, "1.00"),
        ("kv_deletes", MILLION, MILLION, "1.00"),
        ("kv_stored_gb", 1, 1, "0.20"),
    ],
)
def test_paid_plan_prices(meter: str, included: int, unit: int, price: str) -> None:
    found = REFERENCE_TARIFF.meters[meter]
    assert (found.included, found.unit, found.price) == (included, unit, Fraction(price))


@pytest.mark.parametrize(
    ("meter", "per_day", "counts"),
    [
        ("requests", 100_000, {"requests": 100_000}),
        ("gb_s", 13_000, {"active_s": 101_562}),
        ("rows_read", 5 * MILLION, {"rows_read": 5 * MILLION}),
        ("rows_written", 100_000, {"rows_written": 100_000}),
    ],
)
def test_free_plan_allowances_a_day(meter: str, per_day: int, counts: dict[str, int]) -> None:
    assert REFERENCE_TARIFF.meters[meter].free_per_day == per_day
    within = usage(**counts)
    (name, count), *_ = counts.items()
    above = usage(**{name: count + 1})
    assert bill(within, REFERENCE_TARIFF, [within]).over_free == ()
    assert bill(above, REFERENCE_TARIFF, [within, above]).over_free == (meter,)


def test_free_plan_stored_data_is_five_gigabytes_in_total() -> None:
    assert REFERENCE_TARIFF.meters["stored_gb"].free == 5
    assert bill(usage(stored_bytes=5 * 10**9), REFERENCE_TARIFF).over_free == ()
    assert bill(usage(stored_bytes=5 * 10**9 + 1), REFERENCE_TARIFF).over_free == ("stored_gb",)


def test_a_month_without_days_counts_as_thirty_alike() -> None:
    assert bill(usage(requests=30 * 100_000), REFERENCE_TARIFF).over_free == ()
    assert bill(usage(requests=30 * 100_000 + 1), REFERENCE_TARIFF).over_free == ("requests",)


@pytest.mark.parametrize(
    ("counts", "requests"),
    [
        ({"requests": 1}, "1"),
        ({"connections": 1}, "1"),
        ({"alarms": 1}, "1"),
        ({"messages": 20}, "1"),
        ({"messages": 1}, "1/20"),
    ],
)
def test_what_counts_as_requests(counts: dict[str, int], requests: str) -> None:
    assert metered(usage(**counts), REFERENCE_TARIFF)["requests"] == Fraction(requests)


def test_duration_is_active_seconds_times_128_of_1000_megabytes() -> None:
    assert metered(usage(active_s=1), REFERENCE_TARIFF)["gb_s"] == Fraction(128, 1000)


def test_stored_data_is_not_rounded_up() -> None:
    found = line(bill(usage(stored_bytes=5_500_000_000), REFERENCE_TARIFF), "stored_gb")
    assert (found.billed, found.amount) == (Fraction("0.5"), Fraction("0.1"))


def test_rows_and_units_are_rounded_up_to_millions() -> None:
    over = usage(rows_read=25_000 * MILLION + 1, rows_written=50 * MILLION + 1, kv_deletes=MILLION)
    found = bill(over, REFERENCE_TARIFF)
    assert line(found, "rows_read").amount == Fraction("0.001")
    assert line(found, "rows_written").amount == 1
    assert line(found, "kv_deletes").amount == 0


def test_usage_adds_and_multiplies_every_count() -> None:
    one = Usage(*[Fraction(number) for number in range(1, 13)])
    assert one + one == one.times(Fraction(2))
    assert one.kv_stored_bytes == 12


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0", "0.00"),
        ("0.075", "0.075"),
        ("0.15", "0.15"),
        ("1.005", "1.01"),
        ("1234.5", "1,234.50"),
        ("0.0004", "0.00"),
    ],
)
def test_money(value: str, shown: str) -> None:
    assert money(Fraction(value)) == shown


def test_quantities() -> None:
    assert [quantity(Fraction(text)) for text in ("1500000", "0.5", "1/3", "10")] == ["1,500,000", "0.5", "0.333", "10"]


# ---------------------------------------------------------------------- the file
def test_what_the_tariff_command_prints_is_the_reference() -> None:
    assert read_tariff(REFERENCE, "reference") == REFERENCE_TARIFF
    assert tuple(REFERENCE_TARIFF.meters) == METERS


def test_a_tariff_may_leave_out_meters_and_set_quotas(tmp_path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\nbase_fee = 1\n[meters.requests]\nprice = 0.1\n[quotas]\nrequests_per_day = 5\n')
    tariff: Tariff = load_tariff(str(path))
    assert bill(usage(requests=3, active_s=10**9), tariff).total == Fraction("1.3")
    assert tariff.quotas.requests_per_day == 5


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("nam = 1", "unknown key 'nam'", "did you mean name?"),
        ("[meters.request]\nprice = 1", "unknown key 'request'", "did you mean requests?"),
        ("[meters.requests]\nprize = 1", "unknown key 'prize'", "did you mean price?"),
        ("[meters.requests]\nunit = 1", "has no price", "left out"),
        ("[meters.requests]\nprice = -1", "must be 0 or more", ""),
        ("[meters.requests]\nprice = true", "must be a number", ""),
        ("[meters.requests]\nprice = nan", "must be a number", ""),
        ("[meters.requests]\nprice = inf", "must be a number", ""),
        ("[meters.requests]\nprice = 1\nunit = 0", "must be above 0", ""),
        ("meters = 1", "must be a table", ""),
        ('billing = "up"', "billing is 'up'", '"rounded_up" or "pro_rata"'),
        ("gigabyte = 1001", "gigabyte is 1001", "1000 or 1024"),
        ("gigabyte = true", "gigabyte is True", "1000 or 1024"),
        ("name = 1", "name must be a text", ""),
        ("messages_per_request = 0", "must be above 0", ""),
        ("[quotas]\nrequest_per_day = 1", "unknown quota 'request_per_day'", "did you mean requests_per_day?"),
        ("a", "is not TOML", "perdure costs tariff"),
    ],
)
def test_a_wrong_tariff_says_what_to_change(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_tariff(text, "own.toml")
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert "own.toml" in raised.value.message


def test_a_tariff_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_tariff(str(tmp_path / "none.toml"))
