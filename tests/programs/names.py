"""The names that programs of the reference use, and for each the programs here that use it (`test_names` checks both).

A name with a dot is a member of what stands before the dot. Not there: workflows' steps and instances, which the program
`workflow` waits for.
"""

from __future__ import annotations

WORKERS = """
Blob BlobEnding BlobValue Body Context DurableObject FetchKwargs FetchResponse File FormData FormDataValue Headers
JSBody Request RequestInitCfProperties Response WorkerEntrypoint WorkflowEntrypoint env fetch handler
import_from_javascript patch_env python_from_rpc python_to_rpc waitUntil wait_until HTMLRewriter asgi wsgi workflows entrypoints
rpc utils _to_js_headers NonRetryableError cloudflare.workers
"""
RESPONSE = """
status status_text ok url type redirected body body_used headers js_object js_response text json bytes buffer blob
form_data formData clone replace_body raise_for_status memoryview unpack_archive redirect from_json
"""
REQUEST = """
method url headers body body_used cf cache credentials destination integrity is_history_navigation keepalive mode
redirect referrer referrer_policy js_object text json bytes buffer form_data blob clone
"""
FORMS = "append delete get_all keys values items size content_type slice name last_modified"
HANDLERS = """
scheduled queue alarm scheduledTime cron noRetry outcome messages attempts ack retry sendBatch ctx.waitUntil
blockConcurrencyWhile
"""
ENV = "idFromName getByName newUniqueId idFromString get put list delete getWithMetadata prepare bind batch ASSETS SELF TREE"
JS = """
WebSocketPair WebSocketRequestResponsePair
Object.fromEntries Date HTMLRewriter Array Blob File Error FormData Headers Request Response ReadableStream
TransformStream URL URLSearchParams JSON Map Set Number RegExp TextDecoder TextEncoder Uint8Array Uint8ClampedArray
Int8Array Int16Array Uint16Array Int32Array Uint32Array Float32Array Float64Array ArrayBuffer DataView fetch
queueMicrotask undefined console crypto Math setTimeout clearTimeout eval Promise Date.now JSON.stringify getSetCookie
"""
PYODIDE = """
pyodide.__version__ to_js dict_converter default_converter pyproxies create_proxy destroy getBuffer copy
create_once_callable run_sync JsException JsProxy JsBuffer jsnull destroy_proxies pyfetch FetchResponse WebLoop
relaxed_call to_py to_bytes to_memoryview object_values object_entries object_keys as_object_map then slice buffer
byteLength
"""
FRAMEWORKS = """
asgi.fetch wsgi.fetch asgi.env asgi.entrypoint run_in_background wsgi.entrypoint request_to_scope raw toArray
rowsRead rowsWritten
"""
SECTIONS = {
    "workers": WORKERS,
    "Response": RESPONSE,
    "Request": REQUEST,
    "FormData, Blob, File": FORMS,
    "handlers": HANDLERS,
    "env": ENV,
    "js": JS,
    "pyodide": PYODIDE,
    "frameworks": FRAMEWORKS,
}
