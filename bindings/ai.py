"""AI: what programs see of models in `env`, and the kind that binds it: an OpenAI-compatible server that the operator names.

What always holds: perdure runs no models; a question is sent once, and what the server refuses is an error of the call.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from ..engine.durable import DurableObject
from ..engine.errors import BindingError, ConfigError, InvalidArgument
from ..engine.values import JsDict, StandIn, pack, unpack
from ..sdk.config import Config
from ..sdk.fetching import fetch
from ..sdk.readable_stream import ReadableStream
from ..sdk.response import Response
from . import sections
from .arguments import begin, from_json, read_options, styled, to_json
from .surroundings import Surroundings

ADDRESS, KEY = "AI_BASE_URL", "AI_API_KEY"
"""Variables or secrets of the program that say where and with what; the operator's `[ai]` table wins."""
KEYS = ("url", "key", "models")
_NOT_SENT = frozenset({"prompt", "raw", "lora", "stream"})
_REASON_MAX = 1_000
_ABSENT = ("autorag", "toMarkdown", "gateway", "models", "aiSearch", "to_markdown")
Inputs = dict[str, Any]


class Ai:
    """`env.NAME`: run."""

    def __init__(self, url: str, key: str | None, models: Mapping[str, str]) -> None:
        """`url`: with its `/v1`. `models`: what the server calls the models that programs ask for; others go by their names."""
        self._url = url.rstrip("/")
        self._key = key
        self._models = models
        self.aiGatewayLogId = None

    def run(self, model: object, inputs: object, options: object = None, **more: object) -> Awaitable[object]:
        """Ask a model. Raises InvalidArgument, BindingError, NetworkError.

        `prompt` or `messages`: `{response, usage, tool_calls}`, with `stream` a ReadableStream of server-sent events.
        `text`: `{shape, data}`, a vector each. `input`: what the server's `/responses` gives. `returnRawResponse`: its Response.
        """
        if not isinstance(model, str) or not model:
            raise InvalidArgument("run() takes the name of a model first")
        given = _plain(inputs)
        raw = bool(read_options(options, more, ("returnRawResponse",)).get("returnRawResponse"))
        name = self._models.get(model, model)
        if "messages" in given or "prompt" in given:
            return begin(self._generate(name, given, raw), "ai run")
        if "text" in given:
            return begin(self._embed(name, given, raw), "ai run")
        if "input" in given:
            return begin(self._respond(name, given, raw), "ai run")
        raise BindingError(
            f"InferenceUpstreamError: 5006: the inputs of {model} have no 'prompt', 'messages', 'text' or 'input' "
            f"(they have: {', '.join(sorted(given)) or 'nothing'})",
            hint="text generation and embeddings are served; ask servers for images and speech with fetch()",
        )

    async def _generate(self, model: str, given: Inputs, raw: bool) -> object:
        streams = bool(given.get("stream"))
        body = {"model": model, **{name: value for name, value in given.items() if name not in _NOT_SENT}}
        if "messages" not in body:
            body["messages"] = [{"role": "user", "content": given["prompt"]}]
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        response = await self._ask("chat/completions", body)
        if raw:
            return response
        if streams:
            stream = response.body
            return ReadableStream.of_iterator(_events(stream) if stream is not None else _nothing())
        answer = await _json(response)
        message = cast("Inputs", _first(answer).get("message") or {})
        found: Inputs = {"response": _content(message.get("content"), given.get("response_format"))}
        if message.get("tool_calls"):
            found["tool_calls"] = [_tool_call(each) for each in cast("list[Inputs]", message["tool_calls"])]
        if answer.get("usage"):
            found["usage"] = answer["usage"]
        return styled(found)

    async def _embed(self, model: str, given: Inputs, raw: bool) -> object:
        texts: object = given["text"]
        more = {name: value for name, value in given.items() if name not in ("text", "pooling")}
        response = await self._ask("embeddings", {"model": model, "input": texts, **more})
        if raw:
            return response
        answer = await _json(response)
        items = sorted(cast("list[Inputs]", answer.get("data") or []), key=lambda each: int(each.get("index") or 0))
        vectors = [cast("list[float]", each["embedding"]) for each in items]
        return styled({"shape": [len(vectors), len(vectors[0]) if vectors else 0], "data": vectors})

    async def _respond(self, model: str, given: Inputs, raw: bool) -> object:
        response = await self._ask("responses", {"model": model, **given})
        if raw:
            return response
        return response.body if given.get("stream") else styled(await _json(response))

    async def _ask(self, path: str, body: Inputs) -> Response:
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        response = await fetch(f"{self._url}/{path}", method="POST", headers=headers, body=to_json(body))
        if not response.ok:
            status = response.status
            raise BindingError(
                f"InferenceUpstreamError: {status}: {_reason(await response.text())}",
                retryable=status in (408, 429) or status >= 500,
                overloaded=status == 429,
            )
        return response

    def __getattr__(self, name: str) -> object:
        if name in _ABSENT:
            raise AttributeError(f"AI.{name} cannot be served by perdure: there is run()")
        raise AttributeError(f"AI has no {name!r}: there is run()")

    def __repr__(self) -> str:
        return f"<Ai {self._url}>"


def _plain(inputs: object) -> Inputs:
    if isinstance(inputs, StandIn):
        inputs = inputs.plain()
    if not isinstance(inputs, dict):
        inputs = getattr(inputs, "__dict__", None)
    if not isinstance(inputs, dict):
        raise InvalidArgument("the inputs of a model are an object")
    taken = unpack(pack(inputs))  # what they are now: the program may go on to change them
    return {name: value for name, value in cast("Inputs", taken).items() if value is not None}


async def _json(response: Response) -> Inputs:
    found = from_json(await response.bytes())
    if not isinstance(found, dict):
        raise BindingError("InferenceUpstreamError: the server's answer is no object")
    return cast("Inputs", found)


def _first(answer: Inputs) -> Inputs:
    choices = cast("list[Inputs]", answer.get("choices") or [{}])
    return choices[0]


def _content(content: object, wanted: object) -> object:
    """The text; what a schema was given for is read, as the reference does."""
    kind = cast("Inputs", wanted).get("type") if isinstance(wanted, dict) else None
    return from_json(content) if kind in ("json_schema", "json_object") and isinstance(content, str) else content


def _tool_call(call: Inputs) -> Inputs:
    function = cast("Inputs", call.get("function") or {})
    arguments = function.get("arguments")
    return {
        "name": function.get("name"),
        "arguments": from_json(arguments) if isinstance(arguments, str) else arguments,
    }


def _reason(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:_REASON_MAX]
    except (ValueError, KeyError, TypeError):
        return text[:_REASON_MAX]


# ---------------------------------------------------------------------- streams
async def _nothing() -> AsyncIterator[object]:
    return
    yield


async def _events(stream: ReadableStream) -> AsyncIterator[object]:
    """The server's events as those of the reference: `data: {"response": "…"}`, at the end `data: [DONE]`."""
    held = b""
    async for chunk in stream:
        held += cast("bytes", chunk)
        *lines, held = held.split(b"\n")
        for line in lines:
            event = _event(line)
            if event is not None:
                yield event
    event = _event(held)
    if event is not None:
        yield event


def _event(line: bytes) -> bytes | None:
    data = line.strip()
    if not data.startswith(b"data:"):
        return None
    text = data[5:].strip()
    if text == b"[DONE]":
        return b"data: [DONE]\n\n"
    found = cast("Inputs", from_json(text))
    if "error" in found:
        raise BindingError(f"InferenceUpstreamError: {_reason(text.decode('utf-8', 'replace'))}")
    delta = cast("Inputs", _first(found).get("delta") or {})
    event: Inputs = {"response": delta.get("content") or ""}
    if delta.get("tool_calls"):
        event["tool_calls"] = delta["tool_calls"]
    if found.get("usage"):
        event["usage"] = found["usage"]
    if not event["response"] and len(event) == 1:
        return None
    return b"data: " + to_json(event).encode() + b"\n\n"


# ---------------------------------------------------------------------- configuration
def check_settings(settings: Mapping[str, object]) -> JsDict:
    """The table `[ai]` of perdure.toml. Raises ConfigError."""
    given = settings.get("ai") or {}
    if not isinstance(given, dict):
        raise ConfigError("ai must be a table", hint='[ai], then url = "http://localhost:11434/v1"')
    table = cast("dict[str, object]", given)
    for name, value in table.items():
        if name not in KEYS:
            raise ConfigError(f"ai: unknown key '{name}'", hint=f"known: {', '.join(KEYS)}")
        if not isinstance(value, dict if name == "models" else str):
            raise ConfigError(f"ai: {name} must be {'a table of names' if name == 'models' else 'text'}")
    return JsDict(table)


def where_models_are(config: Config, settings: Mapping[str, object]) -> tuple[str, JsDict]:
    """The address of the server, and the operator's table. Raises ConfigError: nothing says where models are."""
    table = check_settings(settings)
    url = table.get("url") or config.vars.get(ADDRESS)
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(
            f"{config.path}: ai: " + (f"{url!r} is no address" if url else "nothing says where models are"),
            hint='perdure runs none: name an OpenAI-compatible server: [ai] url = "http://localhost:11434/v1" in '
            f"perdure.toml, or the variable {ADDRESS}; its key, if it wants one: the secret {KEY}",
        )
    return url, table


class AiModels:
    """The kind: `ai` {binding}."""

    section = "ai"
    classes: Mapping[str, type[DurableObject]] = {}

    def check(self, config: Config) -> None:
        """Raises ConfigError."""
        self._name(config)

    def _name(self, config: Config) -> str:
        section = config.sections.get(self.section)
        if not isinstance(section, dict):
            raise ConfigError(f"{config.path}: ai must be a table")
        return sections.text(config, self.section, cast("sections.Item", section), "binding")

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name → Ai. Raises ConfigError: nothing says where models are."""
        url, table = where_models_are(config, around.settings)
        key = table.get("key") or config.vars.get(KEY)
        models = {name: str(value) for name, value in cast("Inputs", table.get("models") or {}).items()}
        return {self._name(config): Ai(url, cast("str | None", key), models)}
