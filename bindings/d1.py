"""D1 databases: what programs see of them in `env`, and the kind that binds them.

What always holds: a statement runs when one of its methods is called, awaited or not; what only reads is made again while a shard
restarts, what may write is not: its error says that nobody knows, and whether it ran can be looked up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, cast

from ..engine.durable import DurableObject
from ..engine.errors import BindingError, InvalidArgument, Overloaded, PerdureError, StatementTooLong
from ..engine.stubs import Namespace, Stub
from ..engine.values import JsDict, JsList
from ..sdk.config import Config
from . import sections
from .arguments import Answer, Repeat, is_missing, read_options
from .d1_database import D1Object
from .d1_values import NO_STATEMENT, ONE_STATEMENT, bare, dicts_of, is_single, parameter, reads_only, rows_of
from .surroundings import Surroundings

_ONE_A_LINE = "exec() takes each line for a statement of its own: write a long one in one line, or prepare() it"


class D1PreparedStatement:
    """A statement with what is bound to it."""

    def __init__(self, session: _Session, statement: str, params: Sequence[object] = ()) -> None:
        self._session = session
        self.statement = statement
        self.params = params

    def bind(self, *values: object) -> D1PreparedStatement:
        """The same statement with values for its parameters. Raises BindingError (`D1_TYPE_ERROR`)."""
        return D1PreparedStatement(self._session, self.statement, [parameter(value) for value in values])

    def all(self) -> Awaitable[JsDict]:
        """`{success, results, meta}`; `results` are dicts, a row each."""
        sent = self._session.send([self])

        async def work() -> JsDict:
            return _result((await sent)[0])

        return Answer(work)

    run = all

    def first(self, column: object = None) -> Awaitable[object]:
        """The first row, or its `column`; None when there is none. Awaiting it raises BindingError for an unknown column."""
        sent = self._session.send([self])

        async def work() -> object:
            rows = dicts_of((await sent)[0])
            if not rows:
                return None
            row = cast("JsDict", rows[0])
            if is_missing(column):
                return row
            if column not in row:
                raise BindingError(f"D1_COLUMN_NOTFOUND: Column not found ({column})")
            return row[cast("str", column)]

        return Answer(work)

    def raw(self, options: object = None, **more: object) -> Awaitable[JsList]:
        """The rows as lists; with `columnNames` the first is that of the columns' names."""
        names = bool(read_options(options, more, ("columnNames",)).get("columnNames"))
        sent = self._session.send([self])

        async def work() -> JsList:
            result = (await sent)[0]
            rows = rows_of(result)
            return JsList([cast("JsList", result["columns"]), *rows]) if names else rows

        return Answer(work)

    def __repr__(self) -> str:
        return f"<D1PreparedStatement {self.statement[:80]!r}>"


class _Session:
    """How statements of a database or of one of its sessions are sent."""

    def __init__(self, stub: Stub, *, bookmarks: bool = False) -> None:
        self._stub = stub
        self._patient = stub._with_retry(Repeat())  # pyright: ignore[reportPrivateUsage]
        self._bookmarks = bookmarks
        self.bookmark: str | None = None

    def send(self, statements: Sequence[D1PreparedStatement]) -> Awaitable[list[JsDict]]:
        """Run them as one transaction, from now on. Awaiting it raises BindingError (`D1_ERROR: …`)."""
        for statement in statements:
            if not bare(statement.statement):
                raise BindingError(f"D1_ERROR: {NO_STATEMENT}")
            if not is_single(statement.statement):
                raise BindingError(f"D1_ERROR: {ONE_STATEMENT}", hint="give several to batch(), or text to exec()")
        sent = self.run([(each.statement, list(each.params)) for each in statements])

        async def work() -> list[JsDict]:
            found = await _heard(sent)
            if "error" in found:
                raise BindingError(f"D1_ERROR: {found['error']}")
            self.bookmark = cast("str | None", found.get("bookmark", self.bookmark))
            return cast("list[JsDict]", found["results"])

        return Answer(work)

    def run(self, statements: list[tuple[str, list[object]]]) -> Awaitable[object]:
        """One call of the database's object. A stub that broke with its object is replaced by the next call's."""
        reading = all(reads_only(sql) for sql, _ in statements)
        stub = self._patient if reading else self._stub._with_retry(None)  # pyright: ignore[reportPrivateUsage]
        packed = [[sql, parameters] for sql, parameters in statements]
        return stub.run(packed, True) if self._bookmarks else stub.run(packed)


async def _heard(sent: Awaitable[object]) -> dict[str, Any]:
    """The answer. Raises BindingError, in the reference's words, for what the object or the way to it failed with."""
    try:
        return cast("dict[str, Any]", await sent)
    except Overloaded as error:
        raise _failed("D1 DB is overloaded. Requests queued for too long.", error) from error
    except StatementTooLong as error:
        raise _failed(f"D1 DB exceeded its CPU time limit and was reset. {error.message}", error) from error
    except PerdureError as error:
        raise _failed(error.message, error) from error


def _failed(message: str, error: PerdureError) -> BindingError:
    return BindingError(
        f"D1_ERROR: {message}",
        retryable=error.retryable,
        overloaded=error.overloaded,
        reset=error.durableObjectReset,
        hint=error.hint,
    )


def _result(result: JsDict) -> JsDict:
    return JsDict(success=True, results=dicts_of(result), meta=result["meta"])


class D1DatabaseSession:
    """What `withSession` gives. There is one copy of a database, so each query sees what was written before it anyway."""

    def __init__(self, stub: Stub, bookmark: str | None) -> None:
        self._session = _Session(stub, bookmarks=True)
        self._session.bookmark = bookmark

    def prepare(self, query: str) -> D1PreparedStatement:
        """As that of the database."""
        return D1PreparedStatement(self._session, _text(query, "prepare"))

    def batch(self, statements: Iterable[D1PreparedStatement]) -> Awaitable[JsList]:
        """As that of the database."""
        return _batch(self._session, statements)

    def getBookmark(self) -> str | None:
        """How far the database had come at the session's last query; None before the first, unless the session began with one."""
        return self._session.bookmark

    get_bookmark = getBookmark


class D1Database:
    """`env.NAME`: prepare, batch, exec, withSession."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._session = _Session(stub)

    def prepare(self, query: str) -> D1PreparedStatement:
        """A statement, with `?` or `?1` where values go. It is looked at when it runs."""
        return D1PreparedStatement(self._session, _text(query, "prepare"))

    def batch(self, statements: Iterable[D1PreparedStatement]) -> Awaitable[JsList]:
        """Run statements in order, all or none; what `all()` gives for each. Awaiting it raises BindingError."""
        return _batch(self._session, statements)

    def exec(self, query: str) -> Awaitable[JsDict]:
        """Run text, a statement a line, all or none: `{count, duration}`. Awaiting it raises BindingError (`D1_EXEC_ERROR`)."""
        lines = [line for line in _text(query, "exec").strip().split("\n") if bare(line)]
        if not lines:
            raise BindingError(f"D1_EXEC_ERROR: {NO_STATEMENT}")
        sent = self._session.run([(line, []) for line in lines])

        async def work() -> JsDict:
            found = await _heard(sent)
            if "error" in found:
                raise _exec_failed(lines, int(found["at"]), str(found["error"]))
            duration = sum(result["meta"]["duration"] for result in found["results"])
            return JsDict(count=len(lines), duration=duration)

        return Answer(work)

    def withSession(self, constraint: object = None) -> D1DatabaseSession:
        """A session; `constraint`: "first-primary", "first-unconstrained", or a bookmark."""
        text = None if is_missing(constraint) else _text(constraint, "withSession").strip()
        bookmark = None if text in (None, "", "first-primary", "first-unconstrained") else text
        return D1DatabaseSession(self._stub, bookmark)

    def dump(self) -> Awaitable[object]:
        """Raises BindingError: it is for databases of the reference's first trial alone, there too."""
        raise BindingError(
            "D1_DUMP_ERROR: dump() is not supported",
            hint="copy the file: `perdure objects export perdure.d1/ID --output FILE`",
        )

    with_session = withSession

    def __repr__(self) -> str:
        return "<D1Database>"


def _exec_failed(lines: list[str], at: int, error: str) -> BindingError:
    hint = _ONE_A_LINE if "incomplete input" in error else ""
    return BindingError(f"D1_EXEC_ERROR: Error in line {at + 1}: {lines[at]}: {error}", hint=hint)


def _batch(session: _Session, statements: Iterable[D1PreparedStatement]) -> Awaitable[JsList]:
    listed = list(statements)
    for statement in listed:
        if not isinstance(statement, D1PreparedStatement):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"batch() takes prepared statements, got {type(statement).__name__}")
    if not listed:
        raise BindingError(f"D1_ERROR: {NO_STATEMENT}")
    sent = session.send(listed)

    async def work() -> JsList:
        return JsList(map(_result, await sent))

    return Answer(work)


def _text(value: object, method: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{method}() takes a text, got {type(value).__name__}")
    return value


class D1Databases:
    """The kind: `d1_databases` [{binding, database_id, database_name}]. Programs that name one id share a database."""

    section = "d1_databases"
    classes: Mapping[str, type[DurableObject]] = {"d1": D1Object}

    def check(self, config: Config) -> None:
        """Raises ConfigError."""
        for item in sections.items(config, self.section):
            sections.text(config, self.section, item, "binding")
            identity(config, item)

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name → D1Database. Raises ConfigError."""
        databases = around.namespace("d1")
        return {
            sections.text(config, self.section, item, "binding"): database(databases, identity(config, item))
            for item in sections.items(config, self.section)
        }


def identity(config: Config, item: sections.Item) -> str:
    """The id of a database that is declared. Raises ConfigError."""
    return sections.identity(config, D1Databases.section, item, "database_id", "database_name")


def database(databases: Namespace, ident: str) -> D1Database:
    """A database by its id."""
    return D1Database(databases.getByName(ident))
