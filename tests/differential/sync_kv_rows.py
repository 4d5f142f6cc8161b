"""Keys and values: the synchronous calls, and the key-value backend."""

from __future__ import annotations

from .operation import Operation, inside

_FOUR = 'kv.put("a", 1); kv.put("aa", 2); kv.put("b", 3); kv.put("c", 4)'


def _list(name: str, options: str) -> Operation:
    return inside(
        f"kv.list: {name}", f"{_FOUR}; return [...kv.list({options})]", f"{_FOUR}; return list(kv.list({options}))"
    )


_SYNC = [
    inside("kv.get: nothing there", 'return kv.get("k")'),
    inside("kv.put: gives nothing", 'return kv.put("k", 1)'),
    inside("kv.get: what was put", 'kv.put("k", {"a": [1, null]}); return kv.get("k")'),
    inside("kv.get: what storage.put wrote", 'await storage.put("k", 1); return kv.get("k")'),
    inside("kv.put: read by storage.get", 'kv.put("k", 1); return await storage.get("k")'),
    inside("kv.delete: there and not", 'kv.put("k", 1); return [kv.delete("k"), kv.delete("k")]'),
    inside("kv.put: undefined", 'kv.put("k", undefined)'),
    inside("kv.put: no value", 'kv.put("k")'),
    inside("kv.put: null", 'kv.put("k", null); return [kv.get("k"), kv.delete("k")]'),
    inside("kv.put: a function", 'kv.put("k", () => 1)', 'kv.put("k", lambda: 1)'),
    inside("kv.get: a list", 'kv.put("a,b", 1); return kv.get(["a", "b"])'),
    inside(
        "kv.put: bytes",
        'kv.put("k", new Uint8Array([1, 2]).buffer); return kv.get("k")',
        'kv.put("k", b"\\x01\\x02"); return kv.get("k")',
    ),
    inside("kv.list: nothing", "return [...kv.list()]", "return list(kv.list())"),
    _list("all", ""),
    _list("prefix", '{"prefix": "a"}'),
    _list("start", '{"start": "aa"}'),
    _list("startAfter", '{"startAfter": "aa"}'),
    _list("end", '{"end": "b"}'),
    _list("limit", '{"limit": 2}'),
    _list("reverse", '{"reverse": true}'),
    _list("reverse, limit, start", '{"reverse": true, "limit": 2, "start": "aa"}'),
    _list("limit 0", '{"limit": 0}'),
    _list("start and startAfter", '{"start": "a", "startAfter": "a"}'),
    inside(
        "kv.list: an older iterator",
        f"""
        {_FOUR};
        const first = kv.list(); first.next();
        kv.list().next();
        return first.next();
        """,
        f"""
        {_FOUR}
        first = kv.list()
        next(first)
        next(kv.list())
        return next(first)
        """,
    ),
    inside(
        "kv.list: written while it runs",
        f"""
        {_FOUR};
        const seen = [];
        for (const [key] of kv.list()) {{ seen.push(key); if (key === "a") kv.put("ab", 1); }}
        return seen;
        """,
        f"""
        {_FOUR}
        seen = []
        for key, _ in kv.list():
            seen.append(key)
            if key == "a":
                kv.put("ab", 1)
        return seen
        """,
    ),
    inside("kv: the hidden table is hidden", 'kv.put("k", 1); sql.exec("SELECT * FROM _cf_KV")'),
    inside("kv.put: 5 MB", 'kv.put("k", new Uint8Array(5000000).buffer)', 'kv.put("k", bytes(5000000))'),
]
_LEGACY = [
    inside(
        "legacy: put, get, list, delete",
        'await storage.put({"a": 1, "b": 2}); return [await storage.get("a"), await storage.list(), await storage.delete("a"), await storage.get("a")]',
        legacy=True,
    ),
    inside("legacy: sql", 'return storage.sql.exec("SELECT 1")', legacy=True),
    inside("legacy: kv", 'return storage.kv.get("k")', legacy=True),
    inside(
        "legacy: transactionSync",
        "return storage.transactionSync(() => 1)",
        "return storage.transactionSync(lambda: 1)",
        legacy=True,
    ),
    inside(
        "legacy: deleteAll",
        'await storage.put("a", 1); await storage.deleteAll(); return await storage.list()',
        legacy=True,
    ),
    inside(
        "legacy: an alarm",
        "await storage.setAlarm(now() + 100000); return (await storage.getAlarm()) > now()",
        legacy=True,
    ),
    inside(
        "legacy: transaction",
        'return await storage.transaction(async (txn) => { await txn.put("a", 1); return await txn.get("a"); })',
        """
        async def work(txn):
            await txn.put("a", 1)
            return await txn.get("a")
        return await storage.transaction(work)
        """,
        legacy=True,
    ),
    inside(
        "legacy: list with options",
        'await storage.put({"a": 1, "b": 2, "c": 3}); return await storage.list({"reverse": true, "limit": 2})',
        legacy=True,
    ),
]

ROWS = [*_SYNC, *_LEGACY]
