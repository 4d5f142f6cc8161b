"""Alarms. Here they fire in virtual time, in the reference in real time: what is compared are counts and order, never times."""

from __future__ import annotations

from .operation import Text, inside, outside

_SEEN = Text(
    'return [kv.get("runs") ?? 0, await storage.getAlarm()]', 'return [kv.get("runs") or 0, await storage.getAlarm()]'
)
_RAN = Text('return kv.get("runs")')
_COUNT = Text('kv.put("runs", (kv.get("runs") ?? 0) + 1)', 'kv.put("runs", (kv.get("runs") or 0) + 1)')

_CALLS = [
    inside("alarm: none", "return await storage.getAlarm()"),
    inside(
        "alarm: set and read",
        "when = now() + 100000; await storage.setAlarm(when); return (await storage.getAlarm()) == when",
    ),
    inside("alarm: setAlarm gives nothing", "return await storage.setAlarm(now() + 100000)"),
    inside(
        "alarm: deleted",
        "await storage.setAlarm(now() + 100000); await storage.deleteAlarm(); return await storage.getAlarm()",
    ),
    inside("alarm: deleteAlarm without one", "return await storage.deleteAlarm()"),
    inside(
        "alarm: replaced",
        "when = now() + 200000; await storage.setAlarm(now() + 100000); await storage.setAlarm(when); return (await storage.getAlarm()) == when",
    ),
    inside(
        "alarm: not awaited", "when = now() + 100000; storage.setAlarm(when); return (await storage.getAlarm()) == when"
    ),
    inside(
        "alarm: a date",
        "await storage.setAlarm(new Date(now() + 100000)); return (await storage.getAlarm()) > now()",
        "await storage.setAlarm(datetime.datetime.fromtimestamp(now() / 1000 + 100)); return (await storage.getAlarm()) > now()",
    ),
    inside(
        "alarm: a float",
        "await storage.setAlarm(now() + 100000.75); const a = await storage.getAlarm(); return a == Math.floor(a)",
        "await storage.setAlarm(now() + 100000.75); a = await storage.getAlarm(); return a == int(a)",
    ),
    inside("alarm: zero", "await storage.setAlarm(0)"),
    inside("alarm: negative", "await storage.setAlarm(-1)"),
    inside("alarm: NaN", "await storage.setAlarm(NaN)"),
    inside("alarm: no argument", "await storage.setAlarm()"),
    inside("alarm: null", "await storage.setAlarm(null)"),
    inside("alarm: a text", 'await storage.setAlarm("soon")'),
    inside(
        "alarm: options",
        'await storage.setAlarm(now() + 100000, {"allowUnconfirmed": true}); return (await storage.getAlarm({"allowConcurrency": true})) > now()',
    ),
    outside(
        "alarm: a class without alarm()", "return await env.PLAIN.getByName('without alarm').try_alarm(now() + 1000)"
    ),
]
_RUNS = [
    outside(
        "alarm: fires once",
        'await inside("set"); await until("ran"); await sleep(300); return await inside("seen")',
        parts={"set": Text("await storage.setAlarm(now() + 20)"), "alarm": _COUNT, "ran": _RAN, "seen": _SEEN},
    ),
    outside(
        "alarm: in the past fires at once",
        'await inside("set"); await until("ran"); await sleep(200); return await inside("seen")',
        parts={"set": Text("await storage.setAlarm(now() - 100000)"), "alarm": _COUNT, "ran": _RAN, "seen": _SEEN},
    ),
    outside(
        "alarm: at time 1 fires at once",
        'await inside("set"); await until("ran"); await sleep(200); return await inside("seen")',
        parts={"set": Text("await storage.setAlarm(1)"), "alarm": _COUNT, "ran": _RAN, "seen": _SEEN},
    ),
    outside(
        "alarm: deleted in time does not fire",
        'await inside("set"); await sleep(700); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 300); await storage.deleteAlarm()"),
            "alarm": _COUNT,
            "seen": _SEEN,
        },
    ),
    outside(
        "alarm: info of the first run",
        'await inside("set"); return await until("seen")',
        parts={
            "set": Text('when = now() + 50; kv.put("when", when); await storage.setAlarm(when)'),
            "alarm": Text('kv.put("info", [info.retryCount, info.isRetry, info.scheduledTime == kv.get("when")])'),
            "seen": Text('return kv.get("info")'),
        },
    ),
    outside(
        "alarm: never early",
        'await inside("set"); return await until("seen")',
        parts={
            "set": Text('when = now() + 50; kv.put("when", when); await storage.setAlarm(when)'),
            "alarm": Text('kv.put("in time", now() >= kv.get("when"))'),
            "seen": Text('return kv.get("in time")'),
        },
    ),
    outside(
        "alarm: getAlarm inside",
        'await inside("set"); return await until("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text('kv.put("inside", [await storage.getAlarm()])'),
            "seen": Text('return kv.get("inside")'),
        },
    ),
    outside(
        "alarm: getAlarm inside after another was set",
        'await inside("set"); return await until("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'when = now() + 100000; await storage.setAlarm(when); kv.put("inside", [(await storage.getAlarm()) == when])'
            ),
            "seen": Text('return kv.get("inside")'),
        },
    ),
    outside(
        "alarm: deleteAlarm inside changes nothing",
        'await inside("set"); await until("ran"); await sleep(200); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'await storage.deleteAlarm(); kv.put("runs", (kv.get("runs") ?? 0) + 1)',
                'await storage.deleteAlarm(); kv.put("runs", (kv.get("runs") or 0) + 1)',
            ),
            "ran": _RAN,
            "seen": _SEEN,
        },
    ),
    outside(
        "alarm: set anew inside",
        'await inside("set"); await until("ran"); await sleep(200); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'const n = (kv.get("runs") ?? 0) + 1; kv.put("runs", n); if (n < 3) await storage.setAlarm(now() + 20)',
                """
        n = (kv.get("runs") or 0) + 1
        kv.put("runs", n)
        if n < 3:
            await storage.setAlarm(now() + 20)
        """,
            ),
            "ran": Text('return kv.get("runs") == 3'),
            "seen": _SEEN,
        },
    ),
    outside(
        "alarm: set anew inside, then deleted",
        'await inside("set"); await until("ran"); await sleep(300); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'kv.put("runs", (kv.get("runs") ?? 0) + 1); await storage.setAlarm(now() + 50); await storage.deleteAlarm()',
                'kv.put("runs", (kv.get("runs") or 0) + 1); await storage.setAlarm(now() + 50); await storage.deleteAlarm()',
            ),
            "ran": _RAN,
            "seen": _SEEN,
        },
    ),
    outside(
        "alarm: an exception is retried",
        'await inside("set"); await until("ran"); await sleep(200); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                """
        kv.put("runs", (kv.get("runs") ?? 0) + 1);
        kv.put("told", [...(kv.get("told") ?? []), [info.retryCount, info.isRetry]]);
        if (info.retryCount < 1) throw new Error("once more");
        """,
                """
        kv.put("runs", (kv.get("runs") or 0) + 1)
        kv.put("told", [*(kv.get("told") or []), [info.retryCount, info.isRetry]])
        if info.retryCount < 1:
            raise Exception("once more")
        """,
            ),
            "ran": Text('return kv.get("runs") == 2'),
            "seen": Text('return [kv.get("runs"), kv.get("told"), await storage.getAlarm()]'),
        },
    ),
    outside(
        "alarm: between retries it is there",
        'await inside("set"); await until("ran"); await sleep(100); return await inside("seen")',
        parts={
            "set": Text('when = now() + 20; kv.put("when", when); await storage.setAlarm(when)'),
            "alarm": Text(
                'kv.put("runs", 1); throw new Error("always")', 'kv.put("runs", 1); raise Exception("always")'
            ),
            "ran": _RAN,
            "seen": Text('return (await storage.getAlarm()) == kv.get("when")'),
        },
    ),
    outside(
        "alarm: deleted between retries",
        'await inside("set"); await until("ran"); await sleep(100); await inside("drop"); await sleep(3000); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "drop": Text("await storage.deleteAlarm()"),
            "alarm": Text(
                'kv.put("runs", (kv.get("runs") ?? 0) + 1); throw new Error("always")',
                'kv.put("runs", (kv.get("runs") or 0) + 1); raise Exception("always")',
            ),
            "ran": _RAN,
            "seen": _SEEN,
        },
    ),
    outside(
        "alarm: set between retries replaces the retry",
        'await inside("set"); await until("ran"); await sleep(100); await inside("set"); await until("twice"); return await inside("told")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'kv.put("told", [...(kv.get("told") ?? []), [info.retryCount, info.isRetry]]); kv.put("runs", (kv.get("runs") ?? 0) + 1); if (kv.get("runs") < 2) throw new Error("always")',
                """
        kv.put("told", [*(kv.get("told") or []), [info.retryCount, info.isRetry]])
        kv.put("runs", (kv.get("runs") or 0) + 1)
        if kv.get("runs") < 2:
            raise Exception("always")
        """,
            ),
            "ran": _RAN,
            "twice": Text('return kv.get("runs") == 2'),
            "told": Text('return kv.get("told")'),
        },
    ),
    outside(
        "alarm: writes of a failed run stay",
        'await inside("set"); return await until("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'await storage.put("written", true); throw new Error("x")',
                'await storage.put("written", True); raise Exception("x")',
            ),
            "seen": Text('return await storage.get("written")'),
        },
    ),
    outside(
        "alarm: events come in between",
        'await inside("set"); a = await until("begun"); await inside("go"); await until("ran"); return a',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'kv.put("begun", true); while (!kv.get("go")) await sleep(20); kv.put("runs", 1)',
                """
        kv.put("begun", True)
        while not kv.get("go"):
            await sleep(20)
        kv.put("runs", 1)
        """,
            ),
            "go": Text('kv.put("go", true)'),
            "begun": Text('return kv.get("begun")'),
            "ran": _RAN,
        },
    ),
    outside(
        "alarm: set while one runs",
        'await inside("set"); await until("begun"); await inside("set"); await inside("go"); await until("twice"); await sleep(200); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                'kv.put("begun", true); while (!kv.get("go")) await sleep(20); kv.put("runs", (kv.get("runs") ?? 0) + 1)',
                """
        kv.put("begun", True)
        while not kv.get("go"):
            await sleep(20)
        kv.put("runs", (kv.get("runs") or 0) + 1)
        """,
            ),
            "go": Text('kv.put("go", true)'),
            "begun": Text('return kv.get("begun")'),
            "twice": Text('return kv.get("runs") == 2'),
            "seen": _SEEN,
        },
    ),
    outside("alarm: called as a method", "await stub.alarm()"),
    outside(
        "alarm: its object has its name",
        'await inside("set"); return await until("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text('kv.put("name", ctx.id.name)'),
            "seen": Text('return kv.get("name")'),
        },
    ),
    outside(
        "alarm: abort in a run is retried",
        'await inside("set"); await until("twice"); await sleep(200); return await again().part("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 20)"),
            "alarm": Text(
                """
        const n = (await storage.get("runs") ?? 0) + 1; await storage.put("runs", n); await storage.sync();
        if (n < 2) ctx.abort("in the alarm");
        """,
                """
        n = (await storage.get("runs") or 0) + 1
        await storage.put("runs", n)
        await storage.sync()
        if n < 2:
            ctx.abort("in the alarm")
        """,
            ),
            "twice": Text('return kv.get("runs") == 2'),
            "seen": _SEEN,
        },
    ),
    outside(
        "alarm: deleteAll drops it",
        'await inside("set"); await sleep(500); return await inside("seen")',
        parts={
            "set": Text("await storage.setAlarm(now() + 200); await storage.deleteAll()"),
            "alarm": _COUNT,
            "seen": _SEEN,
        },
    ),
]

ROWS = [*_CALLS, *_RUNS]
