"""Queues: each row of docs/bindings.md, in worlds."""

from __future__ import annotations

import asyncio
import datetime

import pytest
from perdure.bindings.queue_rules import BATCH_BYTES_MAX, MESSAGE_BYTES_MAX
from perdure.engine.errors import BindingError, ConfigError, InvalidArgument
from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

SOURCE = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

class Room(DurableObject):
    async def note(self, entry):
        seen = await self.ctx.storage.get("seen") or []
        await self.ctx.storage.put("seen", [*seen, entry])

    async def seen(self):
        return await self.ctx.storage.get("seen") or []

    async def running(self, by):
        kv = self.ctx.storage.kv
        kv.put("now", (kv.get("now") or 0) + by)
        kv.put("most", max(kv.get("most") or 0, kv.get("now")))
        return kv.get("most")

    async def send(self, body):
        self.ctx.storage.kv.put("sent", body)
        self.env.JOBS.send(body)  # not awaited


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.JOBS.send({"url": request.url})
        return Response("sent")

    async def queue(self, batch, env, ctx):
        room = self.env.ROOM.getByName(batch.queue)
        await room.note([[m.body, m.attempts] for m in batch.messages])
        for message in batch.messages:
            body = message.body
            do = body.get("do") if isinstance(body, dict) else None
            if do == "ack":
                message.ack()
            elif do == "retry":
                message.retry(delaySeconds=body.get("delay"))
            elif do == "ack-retry":
                message.ack()
                message.retry()
            elif do == "ackAll":
                batch.ackAll()
            elif do == "retryAll":
                batch.retryAll({"delaySeconds": body.get("delay")})
            elif do == "sleep":
                await room.running(1)
                await asyncio.sleep(body["seconds"])
                await room.running(-1)
            elif do == "nap":
                await asyncio.sleep(body["seconds"])
            elif do == "exit":
                raise SystemExit(1)
        if any(isinstance(m.body, dict) and m.body.get("raise") for m in batch.messages):
            raise ValueError("no good")
"""


def queues(producer: dict[str, object] | None = None, **consumer: object) -> dict[str, object]:
    return {
        "producers": [{"binding": "JOBS", "queue": "jobs", **(producer or {})}, {"binding": "DEAD", "queue": "dead"}],
        "consumers": [{"queue": "jobs", **consumer}],
    }


@pytest.fixture
def queue_world(tmp_path):
    """Runs a test's coroutine function on a world, `env.JOBS` and a function that gives the batches that the handler saw."""

    def with_world(test, source=SOURCE, shards=2, producer=None, extra=(), **consumer):
        section = queues(producer, **consumer)
        section["consumers"] += extra
        program = folder(tmp_path / "app", source, queues=section, **WITH_OBJECT)

        async def inside():
            async with World(program, shards=shards) as world:

                async def seen(queue="jobs"):
                    return await world.namespace("Room").getByName(queue).seen()

                await test(world, world.env.JOBS, seen)

        run(inside())

    return with_world


def test_a_message_waits_for_its_batch(queue_world):
    async def test(world, jobs, seen):
        assert (await world.fetch("/x")).status == 200
        await world.advance(seconds=4.9)
        assert await seen() == []
        await world.advance(seconds=0.2)
        assert await seen() == [[[{"url": "http://localhost/x"}, 1]]]
        await world.advance(seconds=600)
        assert len(await seen()) == 1

    queue_world(test)


def test_a_full_batch_goes_at_once(queue_world):
    async def test(world, jobs, seen):
        for number in range(10):
            await jobs.send(number)
        await world.settle()
        assert await seen() == [[[number, 1] for number in range(10)]]

    queue_world(test)


def test_batch_size_and_timeout(queue_world):
    async def test(world, jobs, seen):
        await jobs.sendBatch([{"body": number} for number in range(5)])
        await world.settle()
        assert sorted(len(batch) for batch in await seen()) == [2, 2]
        await world.advance(seconds=29)
        assert len(await seen()) == 2
        await world.advance(seconds=2)
        assert sorted(len(batch) for batch in await seen()) == [1, 2, 2]

    queue_world(test, max_batch_size=2, max_batch_timeout=30)


def test_content_types(queue_world):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

    async def test(world, jobs, seen):
        await jobs.send({"a": [1, None, "ü"], "at": moment})
        await jobs.send("text", contentType="text")
        await jobs.send(b"\x00\xff", {"contentType": "bytes"})
        await jobs.send({1, 2}, content_type="v8")
        await world.settle()
        bodies = [body for batch in await seen() for body, _ in batch]
        assert bodies == [{"a": [1, None, "ü"], "at": "2026-01-02T03:04:05.000Z"}, "text", b"\x00\xff", {1, 2}]

    queue_world(test, max_batch_size=1, max_concurrency=1)


def test_what_is_refused(queue_world):
    async def test(world, jobs, seen):
        with pytest.raises(InvalidArgument, match="Unsupported queue message content type: xml"):
            jobs.send("a", contentType="xml")
        with pytest.raises(InvalidArgument, match="'text' requires a value of type string"):
            jobs.send(1, contentType="text")
        with pytest.raises(InvalidArgument, match="'bytes' requires a value of type ArrayBufferView"):
            jobs.send("a", contentType="bytes")
        with pytest.raises(InvalidArgument, match="cannot be written as JSON"):
            jobs.send(object())
        with pytest.raises(BindingError, match=f"message length of {MESSAGE_BYTES_MAX + 1} bytes exceeds limit"):
            jobs.send(b"a" * (MESSAGE_BYTES_MAX + 1), contentType="bytes")
        with pytest.raises(BindingError, match="bulk message count of 101 exceeds limit of 100"):
            jobs.sendBatch([{"body": 1}] * 101)
        with pytest.raises(BindingError, match=f"bulk message size of 300006 bytes exceeds limit of {BATCH_BYTES_MAX}"):
            jobs.sendBatch([{"body": "a" * 100_000}] * 3)
        with pytest.raises(InvalidArgument, match="at least one message"):
            jobs.sendBatch([])
        with pytest.raises(BindingError, match="delaySeconds must be between 0 and 86400"):
            jobs.send(1, delaySeconds=86_401)
        await jobs.send(b"a" * MESSAGE_BYTES_MAX, contentType="bytes")

    queue_world(test)


def test_delays(queue_world):
    async def test(world, jobs, seen):
        await jobs.send("own", delaySeconds=10)
        await jobs.send("queue's")
        await jobs.sendBatch([{"body": "batch's"}, {"body": "each", "delaySeconds": 40}], delaySeconds=20)
        times = {}
        for second in range(1, 66):
            await world.advance(seconds=1)
            for batch in await seen():
                for body, _ in batch:
                    times.setdefault(body, second)
        assert times == {"own": 10, "batch's": 20, "queue's": 30, "each": 40}

    queue_world(test, producer={"delivery_delay": 30}, max_batch_timeout=0)


def test_what_is_acknowledged_and_what_retried(queue_world):
    async def test(world, jobs, seen):
        todo = ["ack", "retry", "ack-retry", None]
        await jobs.sendBatch([{"body": {"do": do, "delay": 7, "raise": do is None}} for do in todo])
        await world.settle()
        first, second = (await seen())[:2]
        assert [attempts for _, attempts in first] == [1, 1, 1, 1]
        assert second == [
            [{"do": None, "delay": 7, "raise": True}, 2]
        ]  # it raised: what was not acknowledged comes again
        await world.advance(seconds=7)
        assert [{"do": "retry", "delay": 7, "raise": False}, 2] in [each for batch in await seen() for each in batch]

    queue_world(test, max_batch_timeout=0, max_batch_size=4)


@pytest.mark.parametrize(
    ("bodies", "again"),
    [
        ([{"do": "ackAll", "raise": True}, {"do": None}], []),
        ([{"do": "retryAll"}, {"do": None}], [0, 1]),
        ([{"do": "retryAll"}, {"do": "ack"}], [0]),
        ([{"do": "ackAll"}, {"do": "retry"}], [1]),
        ([{"do": "ackAll"}, {"do": "retryAll"}], []),
        ([{"do": None, "raise": True}, {"do": "ack"}], [0]),
        ([{"do": "exit"}, {"do": None}], [0, 1]),
    ],
)
def test_of_messages_and_batches_what_is_said_of_messages_wins(queue_world, bodies, again):
    async def test(world, jobs, seen):
        await jobs.sendBatch([{"body": body} for body in bodies])
        await world.settle()
        batches = await seen()
        assert batches[0] == [[body, 1] for body in bodies]
        assert [each for batch in batches[1:] for each in batch if each[1] == 2] == [
            [bodies[index], 2] for index in again
        ]

    queue_world(test, max_batch_size=2, max_batch_timeout=0)


def test_retries_and_dead_letters(queue_world):
    async def test(world, jobs, seen):
        await jobs.send({"raise": True})
        for _ in range(40):
            await world.advance(seconds=1)
        assert await seen() == [[[{"raise": True}, attempt]] for attempt in (1, 2, 3)]
        assert await seen("dead") == [[[{"raise": True}, attempt]] for attempt in (1, 2, 3, 4)]  # which drops it
        assert [record.fields["attempts"] for record in world.log if record.event == "queue_message_dropped"] == [4]

    extra = [{"queue": "dead", "max_batch_timeout": 0}]
    queue_world(test, max_retries=2, retry_delay=3, dead_letter_queue="dead", max_batch_timeout=0, extra=extra)


def test_a_queue_without_a_consumer_keeps_its_messages(tmp_path):
    async def inside():
        section = queues()
        section["consumers"] = []
        program = folder(tmp_path / "app", SOURCE, queues=section, **WITH_OBJECT)
        async with World(program) as world:
            await world.env.JOBS.send("kept")
            await world.advance(seconds=10_000)
            shard = world.env.JOBS._shards.getByName("jobs/0")
            assert await world.storage(shard).sql("select count(*) as n from messages") == [{"n": 1}]

    run(inside())


def test_concurrency_is_bounded(queue_world):
    async def test(world, jobs, seen):
        for _ in range(12):
            await jobs.send({"do": "sleep", "seconds": 10})
        await world.advance(seconds=100)
        assert len(await seen()) == 12
        assert await world.namespace("Room").getByName("jobs").running(0) == 3

    queue_world(test, max_batch_size=1, max_batch_timeout=0, max_concurrency=3)


def test_a_long_handler_is_stopped_after_its_time(queue_world):
    async def test(world, jobs, seen):
        await jobs.send({"do": "sleep", "seconds": 2_000})
        await world.advance(seconds=899)
        assert len(await seen()) == 1
        await world.advance(seconds=3)
        assert [attempts for batch in await seen() for _, attempts in batch] == [1, 2]

    queue_world(test, max_batch_timeout=0)


def test_what_was_being_delivered_when_a_shard_died_comes_again(queue_world):
    async def test(world, jobs, seen):
        await jobs.send({"do": "sleep", "seconds": 60})
        await world.advance(seconds=10)
        shard = jobs._shards.getByName("jobs/0")
        await world.crash(shard)
        await world.advance(seconds=10)
        assert [attempts for batch in await seen() for _, attempts in batch] == [1, 2]
        await world.advance(seconds=600)
        assert len(await seen()) == 2

    queue_world(test, max_batch_timeout=0)


def test_a_message_whose_handler_takes_the_process_down_becomes_a_dead_letter(queue_world):
    async def test(world, jobs, seen):
        await jobs.send({"do": "nap", "seconds": 100})
        for attempt in (1, 2):
            await world.advance(seconds=10)
            assert [attempts for batch in await seen() for _, attempts in batch][-1] == attempt
            await world.crash(jobs._shards.getByName("jobs/0"))
        await world.advance(seconds=10)
        assert len(await seen()) == 2
        dead = world.storage(jobs._shards.getByName("dead/0"))
        assert await dead.sql("select attempts, state from messages") == [{"attempts": 0, "state": 0}]

    queue_world(test, max_batch_timeout=0, max_retries=1, dead_letter_queue="dead")


@pytest.mark.parametrize(("do", "seconds", "deliveries"), [("nap", 5, [1]), ("nap", 20, [1, 1]), ("sleep", 5, [1, 1])])
def test_a_stop_waits_for_handlers_and_counts_no_attempt_of_those_that_it_ends(queue_world, do, seconds, deliveries):
    async def test(world, jobs, seen):
        await jobs.send({"do": do, "seconds": seconds})  # "sleep" asks an object afterwards, which is gone
        await world.advance(seconds=1)
        await jobs.send("meanwhile")
        await world.restart()
        await world.advance(seconds=60)
        batches = await seen()
        assert [attempts for batch in batches for body, attempts in batch if body != "meanwhile"] == deliveries
        assert [["meanwhile", 1]] in batches

    queue_world(test, max_batch_timeout=0, max_batch_size=1, max_concurrency=1)


def test_what_an_object_sends_leaves_when_what_it_stored_is_durable(queue_world):
    async def test(world, jobs, seen):
        await world.namespace("Room").getByName("a").send("from an object")
        await world.advance(seconds=6)
        assert await seen() == [[["from an object", 1]]]

    queue_world(test)


def test_a_busy_queue_gets_more_storage_shards(queue_world):
    async def test(world, jobs, seen):
        for _ in range(60):
            await jobs.sendBatch([{"body": number} for number in range(100)])
        assert jobs._count == 2
        await world.advance(seconds=60)
        assert sum(len(batch) for batch in await seen()) == 6_000

    queue_world(test, max_batch_size=100, shards=1)


def test_with_a_bound_on_concurrency_there_is_one_storage_shard(queue_world):
    async def test(world, jobs, seen):
        jobs._count = 4  # from before the bound
        for number in range(20):
            jobs._count = 4
            await jobs.send(number)
        await world.advance(seconds=30)
        assert sorted(body for batch in await seen() for body, _ in batch) == list(range(20))
        for number in (1, 2, 3):
            storage = world.storage(jobs._shards.getByName(f"jobs/{number}"))
            assert await storage.sql("select count(*) as n from messages") == [{"n": 0}]

    queue_world(test, max_concurrency=1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"producers": [{"queue": "a"}]}, "queues.producers: 'binding' is missing"),
        ({"producers": [{"binding": "A"}]}, "queues.producers: 'queue' is missing"),
        ({"producers": "a"}, "queues.producers must be a list"),
        ({"consumers": [{"queue": "a"}, {"queue": "a"}]}, "the queue 'a' has two consumers"),
        ({"consumers": [{"queue": "a", "max_batch_size": 101}]}, "max_batch_size must be a whole number from 1 to 100"),
        (
            {"consumers": [{"queue": "a", "max_batch_timeout": 61}]},
            "max_batch_timeout must be a whole number from 0 to 60",
        ),
        ({"consumers": [{"queue": "a", "max_retries": 101}]}, "max_retries must be a whole number from 0 to 100"),
        (
            {"consumers": [{"queue": "a", "max_concurrency": 251}]},
            "max_concurrency must be a whole number from 1 to 250",
        ),
        ({"consumers": [{"queue": "a", "retry_delay": -1}]}, "retry_delay must be a whole number from 0 to 86400"),
        ({"consumers": [{"queue": "a", "type": "http_pull"}]}, "a consumer of type 'http_pull' cannot be served"),
        ({"consumers": [{"queue": "a", "dead_letter_queue": "a"}]}, "cannot be its own dead_letter_queue"),
        (["a"], "queues must be a table"),
    ],
)
def test_configuration_mistakes(tmp_path, section, message):
    program = folder(tmp_path / "app", SOURCE, queues=section, **WITH_OBJECT)
    with pytest.raises(ConfigError, match=message), World(program):
        pass


def test_a_consumer_without_a_handler_is_a_mistake(tmp_path):
    source = SOURCE.replace("async def queue(", "async def other(")
    program = folder(tmp_path / "app", source, queues=queues(), **WITH_OBJECT)
    with pytest.raises(ConfigError, match="consumes the queue 'jobs' and has no queue\\(\\) handler"), World(program):
        pass


def test_a_queue_has_one_consumer(tmp_path):
    one = folder(tmp_path / "one", SOURCE, queues=queues(), **WITH_OBJECT)
    two = folder(tmp_path / "two", SOURCE, queues=queues(), **{**WITH_OBJECT, "name": "two"})
    with pytest.raises(ConfigError, match="the queue 'jobs' is consumed by app already"), World(one, beside=[two]):
        pass


def test_a_producer_in_another_program(tmp_path):
    async def inside():
        one = folder(tmp_path / "one", SOURCE, queues={"producers": queues()["producers"]}, **WITH_OBJECT)
        consumers = {"consumers": [{"queue": "jobs"}]}
        two = folder(tmp_path / "two", SOURCE, queues=consumers, **{**WITH_OBJECT, "name": "two"})
        async with World(one, beside=[two]) as world:
            await world.env.JOBS.send("over there")
            await world.advance(seconds=6)
            assert await world.namespace("two/Room").getByName("jobs").seen() == [[["over there", 1]]]
            await asyncio.sleep(0)

    run(inside())
