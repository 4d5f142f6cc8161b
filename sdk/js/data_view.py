"""`DataView`: numbers of any kind at any place of a buffer."""

from __future__ import annotations

import struct

from ...engine.errors import OutOfRange
from .buffers import (
    ArrayBuffer,
    BigInt64Array,
    BigUint64Array,
    Float32Array,
    Float64Array,
    Int8Array,
    Int16Array,
    Int32Array,
    TypedArray,
    Uint8Array,
    Uint16Array,
    Uint32Array,
    View,
    as_bytes,
)


class DataView(View):
    """Numbers of any kind at any place; big-endian unless told otherwise."""

    __slots__ = ()

    def __init__(self, buffer: object, byteOffset: int = 0, byteLength: int | None = None) -> None:
        found = buffer if isinstance(buffer, ArrayBuffer) else ArrayBuffer(as_bytes(buffer))
        super().__init__(found, byteOffset, found.byteLength - byteOffset if byteLength is None else byteLength)

    @classmethod
    def new(cls, buffer: object, byteOffset: int = 0, byteLength: int | None = None) -> DataView:
        return cls(buffer, byteOffset, byteLength)

    def __len__(self) -> int:
        return self.view.nbytes

    def __repr__(self) -> str:
        return f"DataView({self.view.nbytes})"


def _accessors(name: str, kind: type[TypedArray]) -> None:
    signs = {little: struct.Struct(f"{'<' if little else '>'}{kind.format}") for little in (False, True)}
    probe = kind(1)

    def get(self: DataView, offset: int, littleEndian: bool = False) -> float:
        try:
            return signs[bool(littleEndian)].unpack_from(self.view, _place(self, offset, kind))[0]
        except struct.error:
            raise OutOfRange("Offset is outside the bounds of the DataView") from None

    def put(self: DataView, offset: int, value: object, littleEndian: bool = False) -> None:
        signs[bool(littleEndian)].pack_into(self.view, _place(self, offset, kind), probe.number(value))

    setattr(DataView, f"get{name}", get)
    setattr(DataView, f"set{name}", put)


def _place(view: DataView, offset: int, kind: type[TypedArray]) -> int:
    if offset < 0 or offset + kind.BYTES_PER_ELEMENT > view.byteLength:
        raise OutOfRange("Offset is outside the bounds of the DataView")
    return offset


for _name, _kind in (
    ("Int8", Int8Array),
    ("Uint8", Uint8Array),
    ("Int16", Int16Array),
    ("Uint16", Uint16Array),
    ("Int32", Int32Array),
    ("Uint32", Uint32Array),
    ("Float32", Float32Array),
    ("Float64", Float64Array),
    ("BigInt64", BigInt64Array),
    ("BigUint64", BigUint64Array),
):
    _accessors(_name, _kind)
