"""What leads to a call travels with it: through the acceptor, through the relay, and from peers that say nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from perdure.engine.calls import CHAIN_LENGTH_MAX, KEY_CHARACTERS_MAX, Call, Extras
from perdure.engine.errors import VersionMismatch
from perdure.engine.ids import ClassKey
from perdure.engine.values import EMPTY_ARGS, pack
from perdure.router.client import Client
from perdure.router.relay import Relay
from perdure.router.server import Acceptor
from perdure.router.slots import ShardPlace, SlotMap

KEY = ClassKey("chains-Thing")
HERE, THERE = KEY.id_from_name("here"), KEY.id_from_name("there")
EXTRAS = Extras(((HERE, 7), (THERE, 8)), ((70, "Thing/here"), (80, "Thing/there")), "a key")


def slot_map(endpoint: str) -> SlotMap:
    return SlotMap(1, (0,) * 64, {0: ShardPlace("1-a", endpoint)})


@asynccontextmanager
async def served(folder, relay: bool = False):
    """A shard's door that answers everything with None, and a client of it; what came is in the list."""
    loop = asyncio.get_running_loop()
    came: list[Call] = []

    def deliver(call: Call) -> None:
        came.append(call)
        call.answer(call, pack(None))

    place, reported = f"ipc://{folder}/s", []

    def report(_level: str, event: str, fields: dict[str, object]) -> None:
        reported.append((event, fields))

    classes = {"Thing": KEY.unique}
    door = Acceptor(
        place,
        loop,
        index=0,
        session="1-a",
        slot_map=slot_map(place),
        classes=classes,
        deliver=deliver,
        cancel=lambda call: None,
        operate=deliver,
        stop_operation=lambda call: None,
        report=report,
    )
    between = Relay(f"ipc://{folder}/r", loop, slot_map(place), classes, report) if relay else None
    client = Client(loop)
    try:
        if between is not None:
            await client.open(f"ipc://{folder}/r", relay=True)
        else:
            client.adopt(slot_map(place), classes)
        client.door = door  # type: ignore[attr-defined]
        yield client, came
        assert reported == []
    finally:
        await client.close()
        if between is not None:
            between.close()
        door.close()


@pytest.mark.parametrize("relay", [False, True], ids=["straight", "relayed"])
def test_the_chain_and_the_key_arrive(tmp_path, relay: bool) -> None:
    async def script() -> None:
        async with served(tmp_path, relay) as (client, came):
            await client.call(KEY.unique, THERE, None, "a", EMPTY_ARGS, extras=EXTRAS)
            await client.call(KEY.unique, THERE, None, "b", EMPTY_ARGS)
            assert (came[0].chain, came[0].trail, came[0].key) == (EXTRAS.chain, EXTRAS.trail, "a key")
            assert (came[1].chain, came[1].trail, came[1].key) == ((), (), None)

    asyncio.run(script())


def test_a_call_without_extras_is_the_frame_of_older_peers(tmp_path) -> None:
    async def script() -> None:
        async with served(tmp_path) as (client, _):
            future = client.call(KEY.unique, THERE, None, "a", EMPTY_ARGS)
            assert len(future.call_frame) == 12
            await future

    asyncio.run(script())


def test_an_older_side_gets_no_chain_and_calls_with_keys_fail(tmp_path) -> None:
    async def script() -> None:
        async with served(tmp_path) as (client, came):
            await client.call(KEY.unique, THERE, None, "a", EMPTY_ARGS)
            client._lanes[0].takes_extras = False
            await client.call(KEY.unique, THERE, None, "b", EMPTY_ARGS, extras=Extras(EXTRAS.chain, EXTRAS.trail))
            assert came[1].chain == ()
            with pytest.raises(VersionMismatch, match="takes no idempotency keys"):
                await client.call(KEY.unique, THERE, None, "c", EMPTY_ARGS, extras=EXTRAS)
            assert len(came) == 2

    asyncio.run(script())


def test_a_call_that_waits_for_a_newer_map_keeps_its_chain(tmp_path) -> None:
    async def script() -> None:
        async with served(tmp_path) as (client, came):
            await client.call(KEY.unique, THERE, None, "a", EMPTY_ARGS)
            place = client._map.shards[0]
            client._map = SlotMap(2, (0,) * 64, {0: place})
            waiting = client.call(KEY.unique, THERE, None, "b", EMPTY_ARGS, extras=EXTRAS)
            done, _ = await asyncio.wait({waiting}, timeout=0.1)
            assert not done
            client.door.adopt(SlotMap(2, (0,) * 64, {0: place}), {})
            await waiting
            assert (came[1].chain, came[1].key) == (EXTRAS.chain, "a key")

    asyncio.run(script())


LINK = [bytes(32), 1, 2, "Thing/a"]


@pytest.mark.parametrize(
    "fields",
    [
        [[LINK] * (CHAIN_LENGTH_MAX + 1), None],
        [[[b"short", 1, 2, ""]], None],
        [[[bytes(32), "1", 2, ""]], None],
        [[[bytes(32), 1, 2]], None],
        [[[bytes(32), 1, 2, "l" * 81]], None],
        [[], 7],
        [[], ""],
        [[], "k" * (KEY_CHARACTERS_MAX + 1)],
        [[]],
        7,
        "ab",
    ],
)
def test_malformed_extras_are_refused(fields) -> None:
    with pytest.raises((ValueError, TypeError)):
        Extras.from_wire(fields)


def test_the_longest_chain_is_taken() -> None:
    fields = [[LINK] * CHAIN_LENGTH_MAX, "k" * KEY_CHARACTERS_MAX]
    assert Extras.from_wire(fields).to_wire() == fields
