"""AI: what is asked of an OpenAI-compatible server, and what programs get of its answers."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import BindingError, ConfigError, InvalidArgument, NetworkError
from perdure.sdk.response import Response
from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

SOURCE = """
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    async def ask(self, question):
        found = await self.env.AI.run("@cf/meta/llama", {"prompt": question})
        await self.ctx.storage.put("answer", found.response)
        return found.response


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stream = await self.env.AI.run("m", {"prompt": "x", "stream": True})
        return Response(stream, headers={"content-type": "text/event-stream"})
"""
CHAT = {
    "choices": [{"message": {"role": "assistant", "content": "Hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


@pytest.fixture
def ai_world(tmp_path):
    """Runs a test's coroutine function on a world, `env.AI`, and the requests that a server got which answers `answer`."""

    def with_world(test, answer=CHAT):
        program = folder(tmp_path / "app", SOURCE, ai={"binding": "AI"}, **WITH_OBJECT)
        asked = []

        async def serve(request):
            body = json.loads(await request.text())
            asked.append((request.url, request.headers.get("authorization"), body))
            return answer(body) if callable(answer) else answer

        async def inside():
            variables = {"AI_BASE_URL": "http://models.test/v1", "AI_API_KEY": "secret"}
            async with World(program, env=variables) as world:
                world.on_fetch("http://models.test/v1", serve)
                await test(world, world.env.AI, asked)

        run(inside())

    return with_world


def test_a_prompt_and_messages(ai_world):
    async def test(world, ai, asked):
        found = await ai.run("@cf/meta/llama", {"prompt": "Hi", "max_tokens": 5, "lora": None})
        assert (found.response, found.usage.total_tokens, found["usage"]) == ("Hello", 3, CHAT["usage"])
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        await ai.run("@cf/meta/llama", {"messages": messages, "temperature": 0.5}, {"gateway": {"id": "g"}})
        url = "http://models.test/v1/chat/completions"
        hi = {"model": "@cf/meta/llama", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
        assert asked[0] == (url, "Bearer secret", hi)
        assert asked[1][2] == {"model": "@cf/meta/llama", "messages": messages, "temperature": 0.5}
        assert await world.namespace("Room").getByName("a").ask("?") == "Hello"
        raw = await ai.run("m", {"prompt": "Hi"}, returnRawResponse=True)
        assert await raw.json() == CHAT

    ai_world(test)


def test_tools_and_schemas(ai_world):
    call = {"id": "1", "type": "function", "function": {"name": "sum", "arguments": '{"a": 1}'}}

    def answer(body):
        content = '{"x": 1}' if "response_format" in body else None
        return {"choices": [{"message": {"content": content, "tool_calls": [call] if "tools" in body else None}}]}

    async def test(world, ai, asked):
        found = await ai.run("m", {"prompt": "x", "tools": [{"name": "sum"}]})
        assert found == {"response": None, "tool_calls": [{"name": "sum", "arguments": {"a": 1}}]}
        schema = {"type": "json_schema", "json_schema": {"type": "object"}}
        assert (await ai.run("m", {"prompt": "x", "response_format": schema})).response.x == 1

    ai_world(test, answer)


def test_streams(ai_world):
    events = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "Hel"}}]},
        {"choices": [{"delta": {"content": "lö"}}]},
        {"choices": [], "usage": {"total_tokens": 3}},
    ]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"

    def answer(body):
        assert body["stream"] is True
        data = text.encode()

        async def chunks():
            for start in range(0, len(data), 7):
                yield data[start : start + 7]

        return Response(chunks(), headers={"content-type": "text/event-stream"})

    async def test(world, ai, asked):
        stream = await ai.run("m", {"prompt": "x", "stream": True})
        found = b"".join([chunk async for chunk in stream])
        assert found.decode() == (
            'data: {"response":"Hel"}\n\ndata: {"response":"lö"}\n\n'
            'data: {"response":"","usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n'
        )
        assert await (await world.fetch("/")).text() == found.decode()

    ai_world(test, answer)


def test_embeddings(ai_world):
    def answer(body):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [{"index": index, "embedding": [float(len(text)), 0.5]} for index, text in enumerate(texts)]
        return {"data": vectors[::-1]}

    async def test(world, ai, asked):
        found = await ai.run("@cf/baai/bge-base-en-v1.5", {"text": ["a", "abc"]})
        assert (found.shape, found.data) == ([2, 2], [[1.0, 0.5], [3.0, 0.5]])
        assert (await ai.run("e", {"text": "abcd", "pooling": "cls"})).data == [[4.0, 0.5]]
        assert asked[1][0] == "http://models.test/v1/embeddings"
        assert asked[1][2] == {"model": "e", "input": "abcd"}

    ai_world(test, answer)


def test_the_responses_interface(ai_world):
    async def test(world, ai, asked):
        found = await ai.run("@cf/openai/gpt-oss-120b", {"input": "Hi", "instructions": "be short"})
        assert found.output[0].type == "message"
        assert asked[0][0] == "http://models.test/v1/responses"
        assert asked[0][2] == {"model": "@cf/openai/gpt-oss-120b", "input": "Hi", "instructions": "be short"}

    ai_world(test, {"output": [{"type": "message"}]})


def test_errors(ai_world):
    def answer(body):
        status = {"busy": 429, "broken": 503}.get(body["model"], 404)
        text = json.dumps({"error": {"message": "no such model"}}) if status == 404 else "sorry"
        return Response(text, status=status)

    async def test(world, ai, asked):
        with pytest.raises(BindingError, match="InferenceUpstreamError: 404: no such model") as found:
            await ai.run("m", {"prompt": "x"})
        assert (found.value.retryable, found.value.overloaded) == (False, False)
        with pytest.raises(BindingError, match="InferenceUpstreamError: 429: sorry") as found:
            await ai.run("busy", {"text": "x"})
        assert (found.value.retryable, found.value.overloaded) == (True, True)
        with pytest.raises(BindingError, match="503") as found:
            await ai.run("broken", {"prompt": "x", "stream": True})
        assert found.value.retryable
        with pytest.raises(BindingError, match="have no 'prompt', 'messages', 'text' or 'input' .they have: image"):
            ai.run("m", {"image": b"1"})
        with pytest.raises(InvalidArgument, match="the inputs of a model are an object"):
            ai.run("m", 1)
        with pytest.raises(InvalidArgument, match="the name of a model first"):
            ai.run(None, {"prompt": "x"})
        with pytest.raises(AttributeError, match="AI.toMarkdown cannot be served by perdure"):
            _ = ai.toMarkdown

    ai_world(test, answer)


def test_no_server(ai_world):
    def answer(body):
        raise NetworkError("Network connection lost: nobody listens")

    async def test(world, ai, asked):
        with pytest.raises(OSError, match="nobody listens"):
            await ai.run("m", {"prompt": "x"})

    ai_world(test, answer)


@pytest.mark.parametrize(
    ("section", "variables", "message"),
    [
        ({"binding": "AI"}, {}, "nothing says where models are.*AI_BASE_URL"),
        ({"binding": "AI"}, {"AI_BASE_URL": "localhost"}, "'localhost' is no address"),
        ({}, {"AI_BASE_URL": "http://a"}, "ai: 'binding' is missing"),
        ([1], {"AI_BASE_URL": "http://a"}, "ai must be a table"),
    ],
)
def test_configuration_mistakes(tmp_path, section, variables, message):
    program = folder(tmp_path / "app", SOURCE, ai=section or {"other": 1}, vars=variables, **WITH_OBJECT)
    with pytest.raises(ConfigError, match=message), World(program):
        pass
