"""What programs import as `js`: JavaScript's global names, each loaded when it is first asked for.

What always holds: a name that is not here is an AttributeError, and `from js import name` an ImportError, that say which are
near it. No module of this package is called like a name of JavaScript: it would hide it.
"""

from __future__ import annotations

import difflib
import importlib
import math
import sys

from ...engine.values import UNDEFINED

_PLACES = {
    "absent": "EventSource Function WebAssembly eval navigator scheduler",
    "arrays": "Array",
    "data_view": "DataView",
    "buffers": "ArrayBuffer BigInt64Array BigUint64Array Float32Array Float64Array Int16Array Int32Array "
    "Int8Array Uint16Array Uint32Array Uint8Array Uint8ClampedArray",
    "caching": "Cache CacheStorage caches",
    "collections": "Map Set",
    "consoles": "console",
    "date": "Date",
    "encoding": "TextDecoder TextEncoder atob btoa performance structuredClone",
    "errors": "AggregateError DOMException Error EvalError RangeError ReferenceError SyntaxError TypeError URIError",
    "events": "CustomEvent Event EventTarget",
    "json": "JSON",
    "objects": "Object",
    "primitives": "BigInt Boolean Math Number Reflect String Symbol decodeURI decodeURIComponent encodeURI "
    "encodeURIComponent isFinite isNaN parseFloat parseInt",
    "promise": "Promise",
    "regexp": "RegExp",
    "rewriter": "HTMLRewriter",
    "signals": "AbortController AbortSignal",
    "subtle": "CryptoKey SubtleCrypto",
    "timers": "clearInterval clearTimeout queueMicrotask setInterval setTimeout",
    "sockets": "CloseEvent ErrorEvent MessageEvent WebSocket WebSocketPair WebSocketRequestResponsePair",
    "web_crypto": "Crypto crypto",
    "web": "Blob ByteLengthQueuingStrategy CompressionStream CountQueuingStrategy DecompressionStream File "
    "FixedLengthStream FormData Headers IdentityTransformStream ReadableStream ReadableStreamBYOBReader "
    "ReadableStreamDefaultReader Request Response TextDecoderStream TextEncoderStream TransformStream URL "
    "URLSearchParams WritableStream WritableStreamDefaultWriter fetch",
}
NAMES = {name: module for module, names in _PLACES.items() for name in names.split()}
"""Name → the module of this package that has it."""
undefined = UNDEFINED
Infinity, NaN = math.inf, math.nan
globalThis = self = sys.modules[__name__]
_ALWAYS = ("Infinity", "NaN", "globalThis", "self", "undefined")


def __getattr__(name: str) -> object:
    place = NAMES.get(name)
    if place is None:
        raise AttributeError(explain(name))
    value = getattr(importlib.import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*NAMES, *_ALWAYS})


def explain(name: str) -> str:
    """That there is no such name, and which are near."""
    near = difflib.get_close_matches(name, [*NAMES, *_ALWAYS], n=3, cutoff=0.6)
    there = f"near it: {', '.join(near)}" if near else "docs/js.md lists those there are"
    return f"module 'js' has no name {name!r} in this version of perdure ({there})"
