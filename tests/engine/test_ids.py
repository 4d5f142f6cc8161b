"""Ids, namespaces and stubs (spec: ids and stubs)."""

from __future__ import annotations

import hashlib
import hmac
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.errors import InvalidArgument, MethodNotFound, OutOfRange
from perdure.engine.ids import ClassKey, ObjectId
from perdure.engine.stubs import Namespace
from perdure.engine.values import unpack

KEY = ClassKey("worker-Room")


class Sent:
    """A transport that only notes what leaves."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def call(self, class_key, object_id, name, method, args, deadline_s=None, on_reset=None, extras=None):
        self.calls.append((class_key, object_id, name, method, unpack(args)))

    def fetch(self, *args):
        raise AssertionError("no fetch here")


def test_the_algorithm_is_the_reference_s() -> None:
    key = hashlib.sha256(b"worker-Room").digest()
    base = hmac.digest(key, b"lobby", "sha256")[:16]
    assert KEY.id_from_name("lobby") == base + hmac.digest(key, base, "sha256")[:16]


@given(st.text())
def test_a_name_gives_the_same_id_and_only_its_class_owns_it(name: str) -> None:
    found = ObjectId.from_name(KEY, name)
    assert found == ObjectId.from_name(KEY, name)
    assert found.name == name
    text = found.toString()
    assert len(text) == 64
    assert text == text.lower()
    again = ObjectId.from_string(KEY, text.upper())
    assert again.equals(found)
    assert again.name is None
    with pytest.raises(InvalidArgument, match="not valid for this namespace"):
        ObjectId.from_string(ClassKey("worker-Other"), text)


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 63, "a" * 65])
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="64 hex digits"):
        ObjectId.from_string(KEY, text)


def test_a_number_names_as_its_text_does() -> None:
    assert ObjectId.from_name(KEY, 5) == ObjectId.from_name(KEY, "5")
    assert ObjectId.from_name(KEY, 5.0).name == "5"
    with pytest.raises(InvalidArgument, match="parameter 1 is not of type 'string'"):
        ObjectId.from_name(KEY, None)


def test_equals_compares_ids_only() -> None:
    found = ObjectId.from_name(KEY, "a")
    with pytest.raises(InvalidArgument, match="parameter 1 is not of type 'DurableObjectId'"):
        found.equals("a")
    assert found != "a"


def test_unique_ids_differ_and_have_no_name() -> None:
    space = Namespace(KEY, Sent())
    ids = {space.newUniqueId().toString() for _ in range(100)}
    assert len(ids) == 100
    assert space.newUniqueId().name is None


def test_a_stub_sends_in_call_order_and_packs_keywords_as_one_dict() -> None:
    sent = Sent()
    stub = Namespace(KEY, sent).getByName("a")
    stub.first()
    stub.second(1, [2], deep={"x": 3})
    assert [call[3:] for call in sent.calls] == [("first", []), ("second", [1, [2], {"deep": {"x": 3}}])]
    assert stub.name == "a"


def test_arguments_are_copied_when_the_call_is_made() -> None:
    sent = Sent()
    given = [1]
    Namespace(KEY, sent).getByName("a").method(given)
    given.append(2)
    assert sent.calls[0][4] == [[1]]


@pytest.mark.parametrize("name", ["alarm", "webSocketMessage", "connect", "dup"])
def test_reserved_methods_are_refused(name: str) -> None:
    with pytest.raises(MethodNotFound, match="is a reserved method"):
        getattr(Namespace(KEY, Sent()).getByName("a"), name)


def test_get_checks_its_arguments() -> None:
    space = Namespace(KEY, Sent())
    with pytest.raises(InvalidArgument, match="DurableObjectId"):
        space.get("a")
    with pytest.raises(InvalidArgument, match="not valid for this namespace"):
        space.get(ObjectId.from_name(ClassKey("worker-Other"), "a"))
    with pytest.raises(OutOfRange, match="routingMode"):
        space.get(space.idFromName("a"), routingMode="anywhere")
    assert space.get(space.idFromName("a"), {"locationHint": "weur"}).id == space.idFromName("a")
    for wrong in ({"routingMode": "anywhere"}, types.SimpleNamespace(routing_mode="anywhere")):
        with pytest.raises(OutOfRange, match="^RangeError: unknown routingMode: anywhere$"):
            space.get(space.idFromName("a"), wrong)
        with pytest.raises(OutOfRange, match="^RangeError: unknown routingMode: anywhere$"):
            space.getByName("a", wrong)
    assert space.getByName("a", routingMode="primary-only").name == "a"


def test_jurisdictions_are_refused_not_ignored() -> None:
    space = Namespace(KEY, Sent())
    for call in (
        lambda: space.jurisdiction("eu"),
        lambda: space.newUniqueId(jurisdiction="eu"),
        lambda: space.newUniqueId({"jurisdiction": "eu"}),
        lambda: space.newUniqueId(types.SimpleNamespace(jurisdiction="eu")),
    ):
        with pytest.raises(InvalidArgument, match="Jurisdiction restrictions are not implemented") as caught:
            call()
        assert caught.value.name == "Error"
    assert space.jurisdiction(None).idFromName("a") == space.idFromName("a")
    assert space.idFromName("a").jurisdiction is None


def test_a_stub_has_an_id_and_a_name_and_what_is_set_stays_here() -> None:
    sent = Sent()
    stub = Namespace(KEY, sent).getByName("a")
    stub.note = "mine"
    assert (stub.note, stub.name, str(stub.id)) == ("mine", "a", stub.id.toString())
    assert Namespace(KEY, sent).get(Namespace(KEY, sent).idFromString(str(stub.id))).name is None
    assert sent.calls == []
