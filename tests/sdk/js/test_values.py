"""Objects, arrays, maps, sets, numbers, texts, patterns, dates, JSON: as JavaScript has them (checked against Node 20)."""

from __future__ import annotations

import datetime
import math

import pytest
from perdure.engine.errors import DataCloneError, PerdureError
from perdure.engine.values import UNDEFINED, pack, unpack
from perdure.sdk import js
from perdure.sdk.js.proxies import JsProxy, jsnull, number_text, to_text
from perdure.sdk.pyodide.ffi import JsException

AMBIENT = datetime.datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=datetime.UTC)


# ------------------------------------------------------------------ objects and arrays
def test_an_object_is_a_dict_with_attributes():
    made = js.Object.new(a=1, b=2)
    made.c = 3
    del made.a
    assert made == {"b": 2, "c": 3}
    assert isinstance(made, dict)
    assert isinstance(made, JsProxy)
    assert made.b == made["b"] == 2
    with pytest.raises(AttributeError):
        _ = made.missing
    with pytest.raises(AttributeError):
        del made.missing
    assert made.object_keys() == ["b", "c"]
    assert made.object_values() == [2, 3]
    assert made.object_entries() == [["b", 2], ["c", 3]]
    assert made.as_object_map()["b"] == 2


def test_object_takes_objects_apart():
    keys = {"a": 1, 2: "b"}
    assert js.Object.keys(keys) == ["a", "2"]
    assert js.Object.values(keys) == [1, "b"]
    assert js.Object.entries(keys) == [["a", 1], ["2", "b"]]
    assert js.Object.fromEntries([["a", 1], (2, "b")]) == {"a": 1, "2": "b"}
    assert js.Object.fromEntries({"a": 1}.items()) == {"a": 1}
    assert js.Object.fromEntries(js.Map.new([["x", 1]])) == {"x": 1}
    assert js.Object.assign({"a": 1}, {"b": 2}, None) == {"a": 1, "b": 2}
    assert js.Object.hasOwn({"a": 1}, "a")
    assert js.Object.is_(1, 1)
    assert js.Object.freeze(keys) is keys
    with pytest.raises(JsException, match="TypeError: Cannot convert undefined or null to object"):
        js.Object.keys(None)
    with pytest.raises(JsException, match="is not an entry object"):
        js.Object.fromEntries(["ab"])


def test_an_array_has_both_styles():
    made = js.Array.new(1, 2, 3)
    assert js.Array.new(2) == [None, None]
    assert js.Array.of(2) == [2]
    assert js.Array.from_("ab", lambda each, index: f"{each}{index}") == ["a0", "b1"]
    assert js.Array.isArray(made)
    assert made.push(4) == 4
    assert made.map(lambda x: x * 2) == [2, 4, 6, 8]
    assert made.filter(lambda x: x % 2) == [1, 3]
    assert made.find(lambda x: x > 1) == 2
    assert made.findIndex(lambda x: x > 9) == -1
    assert made.reduce(lambda a, b: a + b, 0) == 10
    assert made.slice(1, -1) == [2, 3]
    assert made.splice(1, 2, "x") == [2, 3]
    assert made == [1, "x", 4]
    assert made.concat([5], 6) == [1, "x", 4, 5, 6]
    assert made.join("-") == "1-x-4"
    assert made.includes("x")
    assert made.indexOf(9) == -1
    assert js.Array.new(10, 9, 1).sort() == [1, 10, 9]
    assert js.Array.new(10, 9, 1).sort(lambda a, b: a - b) == [1, 9, 10]
    assert js.Array.new([1], [[2]]).flat() == [1, [2]]
    assert js.Array.new("a", None).join() == "a,"
    assert made.length == len(made) == 3
    assert [made.shift(), made.unshift(0), made.at(-1), made.at(7)] == [1, 3, 4, None]


def test_containers_become_plain_at_any_depth():
    value = js.Object.new(list=js.Array.new(1, js.Map.new([["k", js.Set.new([1])]])), buffer=js.Uint8Array.of(1))
    found = value.to_py()
    assert type(found) is dict
    assert type(found["list"]) is list
    assert found["list"][1] == {"k": {1}}
    assert type(found["list"][1]) is dict
    assert type(found["buffer"]) is memoryview
    assert type(value.to_py(depth=1)["list"]) is js.Array


def test_a_map_takes_any_key():
    made = js.Map.new([["a", 1], [2, "b"]])
    assert made.set("c", 3) is made
    assert [made.get("a"), made.get("x"), made.has(2), made.size] == [1, None, True, 3]
    assert list(made) == ["a", 2, "c"]
    assert list(made.entries())[1] == [2, "b"]
    assert [made.delete("a"), made.delete("a")] == [True, False]
    seen: list[object] = []
    made.forEach(lambda value, key: seen.append((key, value)))
    assert seen == [(2, "b"), ("c", 3)]
    assert unpack(pack(made)) == {"2": "b", "c": 3}


def test_a_set():
    made = js.Set.new([1, 2, 2])
    assert made.add(3).add(3).size == 3
    assert [made.has(1), made.delete(1), made.delete(1)] == [True, True, False]
    assert made == {2, 3}
    assert unpack(pack(made)) == {2, 3}


# ------------------------------------------------------------------ numbers and texts
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (1.25e-9, "1.25e-9"),
        (2.5e30, "2.5e+30"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (10**22, "1e+22"),
        (True, "true"),
    ],
)
def test_numbers_are_written_as_in_javascript(number, text):
    assert number_text(number) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12", 12),
        (" 1.5 ", 1.5),
        ("", 0),
        ("0x10", 16),
        ("1e3", 1000),
        (True, 1),
        (jsnull, 0),
        ("-Infinity", -math.inf),
    ],
)
def test_what_becomes_a_number(value, number):
    assert js.Number(value) == number


@pytest.mark.parametrize("value", ["12px", "1_000", "nan", "infinity", None, UNDEFINED, {"a": 1}])
def test_what_is_no_number(value):
    assert math.isnan(js.Number(value))


def test_parse_int_and_float():
    assert js.parseInt("42px") == 42
    assert js.parseInt("ff", 16) == js.parseInt("0xff") == 255
    assert js.parseInt("-7.9") == -7
    assert math.isnan(js.parseInt("x"))
    assert js.parseFloat("3.50 m") == 3.5
    assert js.Number.isInteger(3.0)
    assert not js.Number.isSafeInteger(2**53)
    assert js.Number.MAX_SAFE_INTEGER == 9007199254740991


def test_math_gives_nan_where_python_raises():
    assert js.Math.floor(-1.5) == -2
    assert type(js.Math.floor(1.5)) is int
    assert js.Math.round(2.5) == 3
    assert js.Math.round(-2.5) == -2
    assert math.isnan(js.Math.sqrt(-1))
    assert js.Math.log(0) == -math.inf
    assert js.Math.max() == -math.inf
    assert js.Math.max(1, "3", 2) == 3
    assert js.Math.min(1, 2) == 1
    assert js.Math.pow(2, 10) == 1024
    assert js.Math.hypot(3, 4) == 5
    assert js.Math.trunc(-1.7) == -1
    assert js.Math.sign(-3) == -1
    assert 0 <= js.Math.random() < 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "undefined"),
        (jsnull, "null"),
        ([1, None, [2, 3]], "1,,2,3"),
        (js.Object.new(a=1), "[object Object]"),
        (js.Date.new(0).toISOString(), "1970-01-01T00:00:00.000Z"),
    ],
)
def test_values_as_texts(value, text):
    assert js.String(value) == to_text(value) == text


def test_components_of_urls():
    assert js.encodeURIComponent("a b&c/é!") == "a%20b%26c%2F%C3%A9!"
    assert js.encodeURI("https://a/b c?d=e#f") == "https://a/b%20c?d=e#f"
    assert js.decodeURIComponent("a%20b%C3%A9") == "a bé"
    for bad in ("%", "%zz", "%C3"):
        with pytest.raises(JsException, match="URIError: URI malformed"):
            js.decodeURIComponent(bad)


# ------------------------------------------------------------------ patterns
def test_a_pattern_goes_on_from_its_last_match():
    found = js.RegExp.new(r"(?<letter>[a-z])(\d)", "g")
    first = found.exec("x a1 b2")
    assert [first[0], first[1], first.index, first.groups.letter] == ["a1", "a", 2, "a"]
    assert found.exec("x a1 b2")[0] == "b2"
    assert found.exec("x a1 b2") is None
    assert found.lastIndex == 0
    assert js.RegExp.new("A", "i").test("xa")
    assert not js.RegExp.new("^b$").test("a\nb\n")
    assert js.RegExp.new("^b$", "m").test("a\nb\n")
    assert str(js.RegExp.new("a/", "gi").toString()) == "/a//gi"
    with pytest.raises(JsException, match="SyntaxError: Invalid regular expression"):
        js.RegExp.new("(")


def test_a_pattern_is_not_sent():
    with pytest.raises(TypeError, match="RegExp cannot be sent over RPC"):
        pack(js.RegExp.new("a"))


# ------------------------------------------------------------------ dates
def test_dates_of_milliseconds_texts_and_parts():
    date = js.Date.new(1_770_091_506_789)
    assert date.toISOString() == "2026-02-03T04:05:06.789Z"
    assert js.Date.new("2026-02-03T04:05:06.789Z").getTime() == date.getTime()
    assert js.Date.new("2026-02-03").getTime() == js.Date.UTC(2026, 1, 3)
    assert js.Date.new("2026-02").getTime() == js.Date.UTC(2026, 1)
    assert js.Date.new(2026, 1, 3).getDate() == 3
    assert js.Date.parse("Tue, 03 Feb 2026 04:05:06 GMT") == 1_770_091_506_000
    assert date.toUTCString() == "Tue, 03 Feb 2026 04:05:06 GMT"
    assert [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCDay()] == [2026, 1, 3, 2]
    assert [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds(), date.getUTCMilliseconds()] == [4, 5, 6, 789]
    date.setUTCMonth(12, 1)
    assert date.toISOString() == "2027-01-01T04:05:06.789Z"
    assert js.Date.new(date).valueOf() == date.valueOf()
    assert js.Date.new(AMBIENT).getTime() == 1_770_091_506_789
    assert isinstance(js.Date.now() + 100, int)
    assert js.Date.new(1) < js.Date.new(2)


def test_a_date_that_is_none():
    bad = js.Date.new("no date")
    assert math.isnan(bad.getTime())
    assert bad.toJSON() is None
    assert str(bad) == "Invalid Date"
    with pytest.raises(JsException, match="RangeError: Invalid time value"):
        bad.toISOString()


def test_a_date_travels_as_a_datetime():
    found = unpack(pack({"when": js.Date.new(1_770_091_506_789)}))["when"]
    assert isinstance(found, datetime.datetime)
    assert found.astimezone(datetime.UTC) == AMBIENT


# ------------------------------------------------------------------ JSON
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.0, None, "é"], "b": {"c": True}}, '{"a":[1,2,null,"é"],"b":{"c":true}}'),
        ({"f": print, "u": UNDEFINED, "n": math.nan}, '{"n":null}'),
        ([print, UNDEFINED], "[null,null]"),
        ((1, 2), "[1,2]"),
        (js.Map.new([["a", 1]]), "{}"),
        (js.Date.new(0), '"1970-01-01T00:00:00.000Z"'),
        (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), '"1970-01-01T00:00:00.000Z"'),
        (js.Uint8Array.of(1, 2), '{"0":1,"1":2}'),
        (jsnull, "null"),
        ({1: "a"}, '{"1":"a"}'),
        ("\u2028\x01", '"\u2028\\u0001"'),
    ],
)
def test_json_is_written_as_in_javascript(value, text):
    assert js.JSON.stringify(value) == text


def test_json_with_spaces_and_replacers():
    assert js.JSON.stringify({"a": [1], "b": {}}, None, 2) == '{\n  "a": [\n    1\n  ],\n  "b": {}\n}'
    assert js.JSON.stringify({"a": 1, "b": 2}, ["b"]) == '{"b":2}'
    assert js.JSON.stringify({"a": 1}, lambda key, value: 5 if key == "a" else value) == '{"a":5}'
    assert js.JSON.stringify(UNDEFINED) is None
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(JsException, match="TypeError: Converting circular structure"):
        js.JSON.stringify(circle)
    with pytest.raises(JsException, match="RangeError"):
        deep: object = 1
        for _ in range(100_000):
            deep = [deep]
        js.JSON.stringify(deep)


def test_json_is_read_in_javascripts_style():
    found = js.JSON.parse('{"a": [1, 2.0, null], "b": {"c": 1e2}}')
    assert found.a == [1, 2, None]
    assert found.b.c == 100
    assert type(found.a[1]) is int
    assert found.a.map(lambda x: x) == [1, 2, None]
    assert js.JSON.parse("[1]", lambda key, value: value + 1 if key == "0" else value) == [2]
    for bad in ("{", "", "NaN", "{'a': 1}"):
        with pytest.raises(JsException, match="SyntaxError"):
            js.JSON.parse(bad)


# ------------------------------------------------------------------ errors and null
def test_errors_are_raised_and_caught():
    with pytest.raises(JsException) as caught:
        raise js.Error.new("broken", cause="why")
    assert [caught.value.name, caught.value.message, str(caught.value)] == ["Error", "broken", "Error: broken"]
    assert caught.value.cause == "why"
    assert caught.value.stack
    made = js.TypeError.new("bad")
    assert isinstance(made, js.TypeError)
    assert isinstance(made, js.Error)
    assert not isinstance(made, js.RangeError)
    assert js.DOMException.new("no", "AbortError").name == "AbortError"
    assert js.AggregateError.new([made], "all").errors == [made]
    assert isinstance(unpack(pack(made)), PerdureError)
    assert unpack(pack(made)).name == "TypeError"


def test_null_travels_as_none():
    assert not jsnull
    assert unpack(pack([jsnull, {"a": jsnull}])) == [None, {"a": None}]


def test_clones_share_nothing_and_keep_circles():
    value = js.Object.new(
        list=js.Array.of(1), map=js.Map.new([["k", [2]]]), date=js.Date.new(5), data=js.Uint8Array.of(1)
    )
    value.me = value
    copy = js.structuredClone(value)
    value.list.push(2)
    value.data[0] = 9
    assert copy.list == [1]
    assert copy.map.get("k") == [2]
    assert copy.date.getTime() == 5
    assert copy.data[0] == 1
    assert copy.me is copy
    with pytest.raises(DataCloneError):
        js.structuredClone(object())
