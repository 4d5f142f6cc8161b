"""`FormData`: the fields of a form, texts and files; read from and written as `multipart/form-data` and urlencoded texts.

What always holds: values are texts or Files; fields keep their order, and a name may repeat.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import cast

from ..engine.values import JsList
from .blob import Blob, File
from .headers import as_text
from .urls import URLSearchParams, parse_form

FormDataValue = str | Blob
MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"


def _value(value: object, filename: str | None = None) -> FormDataValue:
    if isinstance(value, Blob):
        if isinstance(value, File) and filename is None:
            return value
        changed = value.last_modified if isinstance(value, File) else None
        return File(value, filename or "blob", value.content_type, last_modified=changed)
    return value if isinstance(value, str) else as_text(value)


class FormData(MutableMapping[str, FormDataValue | None]):
    """`FormData()`, `FormData(mapping)` or `FormData(form_data)`."""

    def __init__(self, form_data: object = None) -> None:
        """Raises TypeError for anything else."""
        self._fields: list[tuple[str, FormDataValue]] = []
        if form_data is None:
            return
        if isinstance(form_data, FormData):
            self._fields = list(form_data._fields)
        elif isinstance(form_data, Mapping):
            for name, value in cast("Mapping[object, object]", form_data).items():
                self[str(name)] = cast("FormDataValue", value)
        elif isinstance(form_data, URLSearchParams):
            self._fields = list(form_data.entries())
        else:
            raise TypeError(f"FormData takes a dict or FormData, not {type(form_data).__name__}")

    @classmethod
    def of_fields(cls, fields: Iterable[Sequence[FormDataValue]]) -> FormData:
        """Of pairs of a name and a value, which are what a form holds."""
        self = cls()
        self._fields = [(cast("str", name), value) for name, value in fields]
        return self

    @classmethod
    def new(cls, form_data: object = None) -> FormData:
        return cls(form_data)

    @property
    def js_object(self) -> FormData:
        return self

    def __getitem__(self, key: str) -> FormDataValue | None:
        """The first value, None when there is none."""
        return next((value for name, value in self._fields if name == key), None)

    def get(self, key: str, default: object = None) -> FormDataValue | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The first value, `default` when there is none."""
        return self[key] if key in self else cast("FormDataValue | None", default)

    def get_all(self, key: str) -> list[FormDataValue]:
        """Every value of the name."""
        return [value for name, value in self._fields if name == key]

    def __setitem__(self, key: str, value: object) -> None:
        """One value for the name, where its first was. Raises TypeError for a list."""
        if isinstance(value, list):
            raise TypeError("Expected single item in arguments to FormData.__setitem__")
        self.set(key, value)

    def set(self, key: str, value: object, filename: str | None = None) -> None:
        """The same, with the name of a file."""
        field = (str(key), _value(value, filename))
        for index, (name, _) in enumerate(self._fields):
            if name == key:
                self._fields[index:] = [field, *(found for found in self._fields[index + 1 :] if found[0] != key)]
                return
        self._fields.append(field)

    def append(self, key: str, value: object, filename: str | None = None) -> None:
        """Add a value to those that the name has. `filename`: of a Blob."""
        self._fields.append((str(key), _value(value, filename)))

    def delete(self, key: str) -> None:
        """Drop all values of the name."""
        self._fields = [field for field in self._fields if field[0] != key]

    def __delitem__(self, key: str) -> None:
        self.delete(key)

    def __contains__(self, key: object) -> bool:
        return any(name == key for name, _ in self._fields)

    def has(self, key: str) -> bool:
        return key in self

    def keys(self) -> Iterator[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Names, one a value."""
        return (name for name, _ in list(self._fields))

    def values(self) -> Iterator[FormDataValue]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (value for _, value in list(self._fields))

    def items(self) -> Iterator[tuple[str, FormDataValue]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (field for field in list(self._fields))

    def forEach(self, callback: Callable[..., object]) -> None:
        """`callback(value, name, form)` for each field."""
        for name, value in list(self._fields):
            callback(value, name, self)

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        return len(self._fields)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FormData) and other._fields == self._fields

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"FormData({self._fields!r})"

    def getAll(self, key: str) -> JsList:
        """The same in JavaScript's style."""
        return JsList(self.get_all(key))

    entries = items


# ---------------------------------------------------------------------- writing
def _quoted(text: str, *, name: bool) -> str:
    if name:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def write_multipart(form: FormData) -> tuple[bytes, str]:
    """The body, and its content type with the boundary."""
    boundary = f"----perdure{secrets.token_hex(16)}"
    pieces: list[bytes] = []
    for name, value in form.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name, name=True)}"'
        if isinstance(value, Blob):
            filename = value.name if isinstance(value, File) else "blob"
            kind = value.content_type or "application/octet-stream"
            head += f'; filename="{_quoted(filename, name=False)}"\r\nContent-Type: {kind}'
            data = value.data
        else:
            data = value.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode("utf-8", "replace")
        pieces += [head.encode("utf-8", "replace"), b"\r\n\r\n", data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"{MULTIPART}; boundary={boundary}"


# ---------------------------------------------------------------------- reading
def _unquoted(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"') if "%" in text else text


_PARAMETER = re.compile(rb';\s*([A-Za-z*]+)\s*=\s*(?:"([^"]*)"|([^;\s]*))')


def _disposition(header: bytes) -> dict[bytes, bytes]:
    """Its parameters, as the fetch standard reads them: a quoted one ends at the next quote, whatever is before it."""
    return {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(header)}


class _Parts:
    """What the parser finds, as fields."""

    def __init__(self) -> None:
        self.form = FormData()
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._field = self._text = b""
        self._data: list[bytes] = []

    def begin(self) -> None:
        self._headers, self._data = {}, []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._text += data[start:end]

    def header_end(self) -> None:
        self._headers[self._field.lower()] = self._text
        self._field = self._text = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        self.ended = True

    def part_end(self) -> None:
        options = _disposition(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if name is None:
            raise TypeError("Failed to parse FormData: a part has no name")
        content, filename = b"".join(self._data), options.get(b"filename")
        if filename is None:
            self.form.append(_unquoted(name), content.decode("utf-8", "replace"))
            return
        kind = self._headers.get(b"content-type", b"application/octet-stream").decode("latin-1").strip()
        self.form.append(_unquoted(name), File(content, _unquoted(filename), kind))


def parse(data: bytes, content_type: str | None) -> FormData:
    """The form that a body of that content type has. Raises TypeError when it is none."""
    from python_multipart.exceptions import FormParserError  # most processes never read a form
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(content_type or "")
    if kind == URLENCODED.encode():
        return FormData(URLSearchParams(parse_form(data.decode("utf-8", "replace"))))
    if kind != MULTIPART.encode():
        raise TypeError(
            f"Unrecognized Content-Type header value {content_type!r}: FormData can be read from {MULTIPART} and {URLENCODED}"
        )
    boundary = options.get(b"boundary")
    if not boundary:
        raise TypeError("No boundary string in Content-Type header.")
    parts = _Parts()
    if data.strip() == b"--" + boundary + b"--":
        return parts.form
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_part_data": parts.data,
            "on_part_end": parts.part_end,
            "on_header_field": parts.header_field,
            "on_header_value": parts.header_value,
            "on_header_end": parts.header_end,
            "on_end": parts.end,
        },
    )
    try:
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise TypeError(f"Failed to parse FormData: {error}") from None
    if not parts.ended:
        raise TypeError("Failed to parse FormData: the last boundary is missing")
    return parts.form
