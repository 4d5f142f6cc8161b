"""The names of `js` and `pyodide`: that all are there, and that nothing is where perdure does not run programs."""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys

import pytest
from perdure.sdk import aliases, js

SPEC = [
    "WebSocketPair",
    "WebSocket",
    "Object",
    "HTMLRewriter",
    "Date",
    "Array",
    "Blob",
    "File",
    "Error",
    "FormData",
    "Headers",
    "Request",
    "Response",
    "ReadableStream",
    "TransformStream",
    "URL",
    "URLSearchParams",
    "JSON",
    "Map",
    "Set",
    "Number",
    "RegExp",
    "TextDecoder",
    "Uint8Array",
    "Uint8ClampedArray",
    "Int8Array",
    "Int16Array",
    "Uint16Array",
    "Int32Array",
    "Uint32Array",
    "Float32Array",
    "Float64Array",
    "ArrayBuffer",
    "DataView",
    "fetch",
    "queueMicrotask",
    "undefined",
    "console",
    "WebSocketRequestResponsePair",
    "crypto",
    "Math",
    "setTimeout",
    "clearTimeout",
    "eval",
]
FFI = [
    "to_js",
    "create_proxy",
    "create_once_callable",
    "run_sync",
    "JsException",
    "JsProxy",
    "JsBuffer",
    "jsnull",
    "destroy_proxies",
    "JsArray",
    "JsMap",
    "JsPromise",
    "JsTypedArray",
    "JsDoubleProxy",
    "can_run_sync",
    "ConversionError",
    "JsNull",
]


@pytest.fixture(autouse=True)
def _aliases():
    aliases.install()


@pytest.mark.parametrize("name", SPEC)
def test_every_name_of_the_specification_is_there(name):
    scope: dict[str, object] = {}
    exec(f"from js import {name}", scope)
    assert scope[name] is getattr(js, name)


@pytest.mark.parametrize("name", sorted(js.NAMES))
def test_every_name_that_is_promised_is_there(name):
    assert getattr(js, name) is getattr(importlib.import_module(f"perdure.sdk.js.{js.NAMES[name]}"), name)
    assert name in dir(js)


def test_no_module_hides_a_name_of_javascript():
    modules = {path.stem for path in pathlib.Path(js.__file__).parent.glob("*.py")}
    assert not modules & set(js.NAMES)


@pytest.mark.parametrize("name", FFI)
def test_every_name_of_pyodide_ffi(name):
    import pyodide.ffi
    from perdure.sdk.pyodide import ffi

    assert pyodide.ffi is ffi
    assert hasattr(ffi, name)


def test_the_other_modules_of_pyodide():
    import pyodide
    from pyodide.code import relaxed_call
    from pyodide.ffi.wrappers import set_timeout
    from pyodide.http import FetchResponse, pyfetch
    from pyodide.webloop import WebLoop

    assert pyodide.__version__.startswith("0.28.")
    assert [int(part) for part in pyodide.__version__.split(".")] > [0, 26, 0]
    assert relaxed_call(lambda a, *, k: (a, k), 1, 2, 3, k=4, other=5) == (1, 4)
    assert callable(pyfetch)
    assert callable(set_timeout)
    assert FetchResponse.__name__ == "Response"
    assert isinstance(WebLoop, type)


def test_modules_are_left_as_they_are():
    import pyodide.ffi

    assert pyodide.ffi.__name__ == "perdure.sdk.pyodide.ffi"
    assert pyodide.ffi.__spec__ is not None
    assert pyodide.ffi.__spec__.name == "perdure.sdk.pyodide.ffi"


def test_an_unknown_name_says_what_is_near():
    with pytest.raises(ImportError, match=r"cannot import name 'Respons' .*near it: Response"):
        exec("from js import Respons")
    with pytest.raises(ImportError, match=r"docs/js.md"):
        exec("from js import document")
    with pytest.raises(AttributeError, match="near it: Headers"):
        _ = js.Headerz
    assert not hasattr(js, "document")
    assert js.globalThis is js
    assert js.self is js


def test_a_process_that_only_imports_perdure_has_none_of_them():
    code = (
        "import sys, perdure, perdure.sdk.program, perdure.testing, perdure.router.client\n"
        "found = [name for name in ('js', 'pyodide', 'pyodide.ffi', 'workers', 'asgi', 'wsgi') if name in sys.modules]\n"
        "assert not found, found\n"
        "try:\n    import js\nexcept ModuleNotFoundError: print('none')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "none\n", done.stderr


def test_a_module_js_of_the_program_s_own_environment_is_not_touched_elsewhere(tmp_path):
    (tmp_path / "js.py").write_text("own = 1\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import perdure, js; print(js.own)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "1\n", done.stderr
