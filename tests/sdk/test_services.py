"""Bindings to Workers, of the program itself and of one beside it, from Workers and from objects (spec: config, rpc)."""

from __future__ import annotations

import datetime

import pytest
from perdure.engine.errors import ClassNotFound, ConfigError, MethodNotFound, PerdureError
from perdure.sdk.programs import load_programs
from perdure.testing import World

from .two_programs import BESIDE, both, classes, write


@pytest.fixture
def world(tmp_path):
    front, beside = both(tmp_path)
    with World(front, beside=[beside]) as world:
        yield world


def test_modules_of_one_name_are_each_programs_own_also_when_they_are_imported_late(world) -> None:
    text = world.run(world.fetch("/where").text()) if False else world.fetch("/where")
    assert world.run(text.text()) == ("models of front late models of front models of shop late models of shop")


def test_each_program_sees_its_own_env_through_workers_env(world) -> None:
    assert world.run(world.fetch("/env").text()) == "front shop shop"


def test_a_request_goes_through_with_its_body_and_its_response_comes_back(world) -> None:
    response = world.fetch("/through")
    assert response.status == 201
    assert response.headers["x-a"] == "1"
    assert world.run(response.text()) == "POST http://shop/inside body"


def test_a_program_binds_itself(world) -> None:
    assert world.run(world.fetch("/self").text()) == "hello myself"


def test_remote_methods_with_props_and_keyword_arguments_as_one_dict(world) -> None:
    greeter = world.env.GREETER

    async def body():
        assert await greeter.greet("you") == {"text": "hello you", "by": "front", "options": None}
        assert (await greeter.greet("you", loud=True))["options"] == {"loud": True}
        given = {"a": 1}
        assert await greeter.change(given) == {"a": 1, "changed": True}
        assert given == {"a": 1}
        assert await (await greeter.fetch("http://any/")).text() == "named"

    world.run(body())


def test_objects_call_services_and_objects_of_the_other_program(world) -> None:
    counter = world.namespace("Counter").getByName("a")

    async def body():
        assert (await counter.ask("you"))["text"] == "hello you"
        assert await counter.other() == 101
        assert await counter.add() == 1
        assert await world.namespace("shop/Counter").getByName("a").add() == 102
        assert await counter.props() == [True, {"by": "object"}]

    world.run(body())


def test_functions_go_both_ways_by_reference(world) -> None:
    """The object's function runs in the object's turns, the Worker's in its program's env."""
    assert world.namespace("Counter").getByName("a").callbacks() == ["1 shop", "2 shop", 6]


def test_results_are_used_before_they_are_there(world) -> None:
    assert world.namespace("Counter").getByName("a").pipelined() == ["1 shop", "2 shop", "hello you"]

    async def body():
        assert await world.env.GREETER.greet("you").by == "front"
        with pytest.raises(PerdureError, match="Can't pipeline on RPC"):
            await world.env.GREETER.name().more

    world.run(body())


def test_a_binding_is_passed_on_to_another_object(world) -> None:
    found = world.namespace("Counter").getByName("a").forward()
    assert found == {"text": "hello me", "by": "front", "options": None}


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("missing", 'does not implement the method "missing"'),
        ("env", 'does not implement the method "env"'),
        ("ctx", 'does not implement the method "ctx"'),
        ("_hidden", 'does not implement the method "_hidden"'),
        ("toString", "does not implement the method"),
        ("kept", '"kept" is not a function'),
    ],
)
def test_what_cannot_be_called(world, name: str, phrase: str) -> None:
    async def body():
        with pytest.raises(MethodNotFound, match=phrase):
            await getattr(world.env.GREETER, name)()

    world.run(body())


@pytest.mark.parametrize("name", ["alarm", "dup", "constructor", "connect"])
def test_reserved_names(world, name: str) -> None:
    with pytest.raises(MethodNotFound):
        getattr(world.env.GREETER, name)()


def test_what_a_service_raises_arrives_as_from_afar(world) -> None:
    async def body():
        with pytest.raises(PerdureError, match="lost") as raised:
            await world.env.GREETER.fail()
        assert raised.value.remote
        assert raised.value.shelf == 3  # type: ignore[attr-defined]
        with pytest.raises(PerdureError, match="enough"):
            await world.env.GREETER.stop()
        with pytest.raises(TypeError, match="tuple"):
            await world.env.GREETER.greet((1, 2))

    world.run(body())


def test_wait_until_of_a_service_goes_on_after_its_reply(world) -> None:
    async def body():
        assert await world.env.GREETER.later() == "soon"
        await world.settle()
        assert await world.namespace("shop/Counter").getByName("later").add() == 102

    world.run(body())


def test_scheduled_is_run_by_hand(world) -> None:
    async def body():
        found = await world.env.SHOP.scheduled(scheduledTime=1000, cron="* * * * *")
        assert found.outcome == "ok"
        assert found.noRetry is True
        await world.env.SHOP.scheduled({"scheduledTime": datetime.datetime(2026, 1, 1)})
        assert await world.namespace("shop/Counter").getByName("scheduled").add() == 103
        with pytest.raises(MethodNotFound, match=r"does not export a scheduled\(\) function"):
            await world.env.SELF.scheduled()

    world.run(body())


def test_a_batch_is_delivered_by_hand(world) -> None:
    messages = [
        {"id": "1", "timestamp": datetime.datetime(2026, 1, 1), "attempts": 1, "body": "good"},
        {"id": "2", "timestamp": 1000, "attempts": 2, "body": "bad"},
        {"id": "3", "body": None},
    ]

    async def body():
        found = await world.env.SHOP.queue("orders", messages)
        assert found.outcome == "ok"
        assert found.ackAll is True
        assert found.explicitAcks == ["1"]
        assert found.retryMessages == [{"msgId": "2", "delaySeconds": 5}]
        assert found.retryBatch.retry is False

    world.run(body())


def test_classes_of_programs_beside_go_by_the_programs_name(world) -> None:
    with pytest.raises(ClassNotFound):
        world.namespace("shop/Nothing")
    assert world.namespace("shop/Counter").idFromName("a") != world.namespace("Counter").idFromName("a")


def test_a_service_that_is_not_served_is_found_at_the_start(tmp_path) -> None:
    front, beside = both(tmp_path)
    with pytest.raises(ConfigError, match="which is not served") as raised:
        load_programs([front])
    assert "perdure run" in raised.value.hint
    with pytest.raises(ConfigError, match="two programs are named 'shop'"):
        load_programs([front, beside, beside])


def test_an_entrypoint_or_a_class_that_is_missing_is_found_at_the_start(tmp_path) -> None:
    beside = write(tmp_path, "shop", BESIDE, **classes("Counter"))
    services = [{"binding": "X", "service": "shop", "entrypoint": "Nobody"}]
    front = write(tmp_path, "one", "", services=services)
    with pytest.raises(ConfigError, match="shop has no entrypoint 'Nobody'") as raised:
        load_programs([front, beside])
    assert "Default, Greeter" in raised.value.hint
    bindings = [{"name": "X", "class_name": "Nothing", "script_name": "shop"}]
    front = write(tmp_path, "two", "", durable_objects={"bindings": bindings})
    with pytest.raises(ConfigError, match="a class Nothing that shop does not have"):
        load_programs([front, beside])
