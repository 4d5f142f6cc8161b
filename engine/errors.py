"""One tree of errors. Each answers: may I retry, is it overload, whose fault, was the object reset, which object, what to do.

What always holds: an error that crosses a process keeps its name, message and flags (`to_wire`, `from_wire`); `str(e)` is
`"<Name>: <message>"` as in the reference SDK, where this class is known as `JsException`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

DOM_NAMES = (
    "AbortError",
    "ConstraintError",
    "DataError",
    "EncodingError",
    "HierarchyRequestError",
    "InUseAttributeError",
    "InvalidAccessError",
    "InvalidCharacterError",
    "InvalidModificationError",
    "InvalidNodeTypeError",
    "InvalidStateError",
    "NamespaceError",
    "NetworkError",
    "NotAllowedError",
    "NotFoundError",
    "NotReadableError",
    "NotSupportedError",
    "OperationError",
    "QuotaExceededError",
    "ReadOnlyError",
    "SecurityError",
    "TimeoutError",
    "TransactionInactiveError",
    "UnknownError",
    "VersionError",
    "WrongDocumentError",
)
"""Names of a DOMException."""
SURVIVING_NAMES = frozenset(
    {
        "Error",
        "TypeError",
        "RangeError",
        "SyntaxError",
        "ReferenceError",
        "DataCloneError",
        *DOM_NAMES,
    }
)


class PerdureError(Exception):
    """Root of all errors raised by the runtime, and what a caller gets for an exception of the callee.

    `retryable`: the same call may succeed when made again, on a new stub. `overloaded`: queues are full, do not retry
    at once. `remote`: thrown by the callee's own code. `durableObjectReset`: the instance was reset. `hint`: what an
    operator can do. `code` names the class of the error on the wire and in logs.
    """

    code: ClassVar[str] = "error"
    default_name: ClassVar[str] = "Error"
    default_retryable: ClassVar[bool] = False
    default_overloaded: ClassVar[bool] = False
    default_reset: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        name: str | None = None,
        remote: bool = False,
        retryable: bool | None = None,
        overloaded: bool | None = None,
        reset: bool | None = None,
        object_id: str | None = None,
        hint: str = "",
        stack: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name = name or self.default_name
        self.remote = remote
        self.retryable = self.default_retryable if retryable is None else retryable
        self.overloaded = self.default_overloaded if overloaded is None else overloaded
        self.durableObjectReset = self.default_reset if reset is None else reset
        self.durableObjectId = object_id
        self.hint = hint
        self.stack = stack
        self.cause: PerdureError | None = None
        """What led to it at the callee, as `raise … from …` says; `__cause__` where it arrives."""
        self.extra = b""
        """What the program set on the exception, packed; each is an attribute of this one too."""

    def __str__(self) -> str:
        text = f"{self.name}: {self.message}"
        return f"{text} (hint: {self.hint})" if self.hint else text

    def set_extra(self, properties: Mapping[str, object]) -> None:
        """Take over what the program set on its exception. What this class has itself is not replaced, but for `code`:
        many programs' errors have one, and that of the class is still on the wire."""
        from .values import pack  # which needs the errors itself

        taken = {name: value for name, value in properties.items() if name == "code" or not hasattr(self, name)}
        if taken:
            self.extra = pack(taken)
            self.__dict__.update(taken)

    def copy(self, object_id: str) -> PerdureError:
        """The same for another object; `object_id`: its hex id."""
        return from_wire({**self.to_wire(), "object_id": object_id})

    def __reduce__(self) -> tuple[object, ...]:
        return (from_wire, (self.to_wire(),))

    def to_wire(self) -> dict[str, object]:
        """The error as plain values; `from_wire` turns it back into the same class."""
        fields: dict[str, object] = {
            "name": self.name,
            "message": self.message,
            "code": type(self).code,
            "remote": self.remote,
            "retryable": self.retryable,
            "overloaded": self.overloaded,
            "reset": self.durableObjectReset,
            "object_id": self.durableObjectId,
            "hint": self.hint,
            "stack": self.stack,
        }
        if self.extra:
            fields["extra"] = self.extra
        if self.cause is not None:
            fields["cause"] = self.cause.to_wire()
        return fields


class InvalidArgument(PerdureError):
    """A call was made with what it cannot take (TypeError of the reference). Correct the call."""

    code = "invalid_argument"
    default_name = "TypeError"


class OutOfRange(PerdureError):
    """A value is of the right type but outside its bounds (RangeError of the reference)."""

    code = "out_of_range"
    default_name = "RangeError"


class DataCloneError(PerdureError):
    """A value cannot travel or be stored. Send plain values: None, bool, int, float, str, bytes, list, dict, set, datetime."""

    code = "data_clone"
    default_name = "DataCloneError"


class ByReference(DataCloneError):
    """A value travels by reference: it crosses calls, and is never stored. Store what it would give."""

    code = "by_reference"


class SocketUnknown(PerdureError):
    """The object has no such WebSocket: it was closed, or the object was reset or restored. The connection is ended."""

    code = "socket_unknown"


class HostGone(PerdureError):
    """What a stub led to is gone with the object or process that it lived in. Ask for a new one."""

    code = "host_gone"


class NeverAnswered(PerdureError):
    """A Worker awaits what nothing can ever give it. Resolve the future, or keep what would."""

    code = "never_answered"


class Disposed(PerdureError):
    """A stub or promise was used after it was disposed. `dup()` it before, to keep it."""

    code = "disposed"


class ValueTooLarge(PerdureError):
    """A value, message or body is over its bound. Stream it, or split it."""

    code = "too_large"


class Forbidden(PerdureError):
    """The caller may not do that from where it is. Do it on the machine of the data folder."""

    code = "forbidden"


class OperationNotFound(PerdureError):
    """The shard knows no operation of that name: it is of another version than the caller."""

    code = "operation_not_found"


class ObjectNotFound(PerdureError):
    """No object with that id has any stored state."""

    code = "object_not_found"


class BindingError(PerdureError):
    """A binding (a KV namespace, a database, a rate limit, …) refused what it was asked, in the words of its product."""

    code = "binding"


class MigrationError(PerdureError):
    """A migration of an object's own tables failed, or the list of them does not fit what was applied before."""

    code = "migration"


class MethodNotFound(PerdureError):
    """The class does not have that method, or its name is reserved or private."""

    code = "method_not_found"
    default_name = "TypeError"


class ClassNotFound(PerdureError):
    """No class is known under that name or key."""

    code = "class_not_found"
    default_name = "TypeError"


class RemoteError(PerdureError):
    """The callee's own code raised. The object lives on; the stub is not broken."""

    code = "remote"


class ObjectReset(PerdureError):
    """The instance was reset: aborted, a failed commit, a broken gate. What was not acknowledged is undone."""

    code = "reset"
    default_reset = True


class TurnTooLong(PerdureError):
    """A turn ran longer than its budget without a suspension; the object was reset. Suspend, do less at once, or raise it."""

    code = "turn_too_long"
    default_reset = True


class MemoryExceeded(PerdureError):
    """An object's memory grew past its bound, by estimate; it was reset. Keep less in memory, or raise the bound."""

    code = "memory_exceeded"
    default_reset = True


class EventRefused(PerdureError):
    """The same event has ended its shard's process again and again, so it is refused for a while. Its place is in the log."""

    code = "event_refused"


class StorageUnavailable(PerdureError):
    """Storage was used by an instance, turn or thread that does not own it (any more)."""

    code = "storage_unavailable"
    default_retryable = True


class StorageError(PerdureError):
    """SQLite refused a statement or a value. The message carries SQLite's own words and code name."""

    code = "storage"


class StatementTooLong(PerdureError):
    """A SQL statement ran past its bound of time and was interrupted; the object is reset. Add an index, or do less at once."""

    code = "statement_too_long"
    default_reset = True


class StorageFull(PerdureError):
    """The disk is full, so the shard only reads. Free space; it comes back by itself."""

    code = "storage_full"
    default_retryable = True


class HistoryGone(PerdureError):
    """A point in time that history does not reach back to, or not any more. The hint says what can be restored."""

    code = "history_gone"


class ImportRefused(PerdureError):
    """A file cannot become an object's: no SQLite database, damaged, too large, or with names that are the runtime's."""

    code = "import_refused"


class Overloaded(PerdureError):
    """A queue is full by count, bytes or age. Back off; shard the object if this lasts."""

    code = "overloaded"
    default_overloaded = True


class SubrequestsExceeded(PerdureError):
    """One event made more fetches and calls than its program allows itself. Raise `limits.subrequests`, or do less in one."""

    code = "too_many_subrequests"


class CallCycle(PerdureError):
    """A call waits for a critical section that waits for the call. Make the call outside of the section."""

    code = "call_cycle"


class CallChainTooLong(PerdureError):
    """Too many calls inside one another. Let the first caller make them one after the other."""

    code = "call_chain_too_long"


class QuotaExceeded(PerdureError):
    """An operator's quota is used up. The hint names it; a daily one resets at 00:00 UTC."""

    code = "quota_exceeded"


class ShardLost(PerdureError):
    """The process that served the call is gone. The call may or may not have run."""

    code = "shard_lost"
    default_retryable = True


class DeadlineExceeded(PerdureError):
    """No answer in time. The call may or may not have run."""

    code = "deadline"


class NotConnected(PerdureError):
    """No runtime answers at that address."""

    code = "not_connected"
    default_retryable = True


class VersionMismatch(PerdureError):
    """Both sides speak, but no common version of the protocol or of a file format."""

    code = "version_mismatch"


class ProtocolError(PerdureError):
    """A malformed message."""

    code = "protocol"


class ConfigError(PerdureError):
    """Configuration or program cannot be used as it is. The hint says what to change."""

    code = "config"


class DataFolderError(PerdureError):
    """The data folder is locked by another supervisor, cannot be written, or is of a newer format."""

    code = "data_folder"


class LogDamaged(PerdureError):
    """The shard log is damaged in a place that was acknowledged. Nothing is dropped; repair is needed."""

    code = "log_damaged"


class LogFailed(PerdureError):
    """A write or sync of the shard log failed; the batch was not acknowledged."""

    code = "log_failed"
    default_retryable = True
    default_reset = True


class NetworkError(PerdureError, OSError):
    """`fetch` got no answer: no such host, nobody listens, the connection broke. An OSError too, as the reference has it."""

    code = "network"


class ProgramBug(PerdureError):
    """The program used the runtime in a way that cannot work (for instance another object's storage)."""

    code = "program"


class DurableObjectAbort(BaseException):
    """Raised inside a handler by `ctx.abort()`; a BaseException so that `except Exception` cannot swallow it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _tree(root: type[PerdureError]) -> dict[str, type[PerdureError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


_BY_CODE = _tree(PerdureError)


def from_wire(fields: Mapping[str, object]) -> PerdureError:
    """The error that `to_wire` described; an unknown code becomes the root class, nothing is lost."""
    cls = _BY_CODE.get(str(fields.get("code")), PerdureError)
    object_id = fields.get("object_id")
    error = cls(
        str(fields.get("message", "")),
        name=str(fields.get("name", "Error")),
        remote=bool(fields.get("remote")),
        retryable=bool(fields.get("retryable")),
        overloaded=bool(fields.get("overloaded")),
        reset=bool(fields.get("reset")),
        object_id=cast("str | None", object_id),
        hint=str(fields.get("hint") or ""),
        stack=str(fields.get("stack") or ""),
    )
    cause = fields.get("cause")
    if isinstance(cause, dict):
        error.cause = from_wire(cast("dict[str, object]", cause))
        error.__cause__ = error.cause
    extra = fields.get("extra")
    if isinstance(extra, bytes) and extra:
        from .values import unpack  # which needs the errors itself

        found = unpack(extra)
        if isinstance(found, dict):
            error.set_extra(cast("dict[str, object]", found))
    return error
