"""`crypto.subtle`: digests, signatures, encryption and derived keys of the web crypto standard.

What always holds: hashes and HMAC are Python's own, the rest is done by `cryptography`; a key is used only for what it was made
for; every method gives a promise whose work is done when it is called.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from ...engine.errors import PerdureError
from .arrays import Array
from .buffers import ArrayBuffer, as_bytes
from .objects import JsObject
from .proxies import JsProxy, missing, options, to_text

_HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512", "MD5": "md5"}
_BLOCKS = {"SHA-1": 64, "SHA-256": 64, "SHA-384": 128, "SHA-512": 128}


def algorithm_of(given: object, named: dict[str, object] | None = None) -> dict[str, object]:
    """An algorithm as a dict with its `name` in the standard's spelling. Raises PerdureError (NotSupportedError)."""
    found = {"name": given} if isinstance(given, str) else options(given, named or {})
    name = to_text(found.get("name", "")).upper()
    known = next((each for each in (*_HASHES, *_SPELLED) if each.upper() == name), None)
    if known is None:
        raise PerdureError(f"Unrecognized algorithm: {to_text(found.get('name', ''))}", name="NotSupportedError")
    return {**found, "name": known}


_SPELLED = (
    "HMAC",
    "AES-GCM",
    "AES-CBC",
    "AES-CTR",
    "AES-KW",
    "RSASSA-PKCS1-v1_5",
    "RSA-PSS",
    "RSA-OAEP",
    "ECDSA",
    "ECDH",
    "Ed25519",
    "X25519",
    "PBKDF2",
    "HKDF",
)


def hash_name(given: object) -> str:
    """The name of a hash. Raises PerdureError (NotSupportedError) for another algorithm."""
    name = to_text(algorithm_of(given)["name"])
    if name not in _HASHES:
        raise PerdureError(f"{name} is not a hash", name="NotSupportedError")
    return name


def digest(name: str, data: bytes) -> bytes:
    """The digest by the standard's name."""
    return hashlib.new(_HASHES[name], data).digest()


@dataclass(slots=True, eq=False)
class CryptoKey(JsProxy):
    """A key; `secret` is bytes, or a key of `cryptography`."""

    type: str
    algorithm: JsObject
    extractable: bool
    usages: Array
    secret: Any

    def use(self, usage: str, name: str) -> None:
        """Raises PerdureError (InvalidAccessError) when it was not made for that."""
        if self.algorithm["name"] != name:
            raise PerdureError(f"The key is for {self.algorithm['name']}, not for {name}", name="InvalidAccessError")
        if usage not in self.usages:
            raise PerdureError(
                f'Requested key usage "{usage}" does not match any usage listed in this CryptoKey.',
                name="InvalidAccessError",
            )


def operation_error(error: Exception) -> PerdureError:
    """What the standard tells of a failure: nothing that helps an attacker."""
    return PerdureError(f"The operation failed: {type(error).__name__}", name="OperationError")


def _eager(method: Callable[..., object]) -> Callable[..., asyncio.Future[object]]:
    """Do it now, and give a future that is done."""

    def begin(self: SubtleCrypto, *args: object) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(method(self, *args))
        except Exception as error:
            future.set_exception(error)
            future.exception()  # nobody is told when it is never awaited
        return future

    begin.__name__ = method.__name__
    begin.__doc__ = method.__doc__
    return begin


class SubtleCrypto(JsProxy):
    """Algorithms are names or objects of the standard's fields; data are buffers or Python's bytes."""

    @_eager
    def digest(self, algorithm: object, data: object) -> ArrayBuffer:
        """SHA-1, SHA-256, SHA-384, SHA-512, MD5."""
        return ArrayBuffer(digest(hash_name(algorithm), as_bytes(data)))

    @_eager
    def sign(self, algorithm: object, key: CryptoKey, data: object) -> ArrayBuffer:
        """HMAC, RSASSA-PKCS1-v1_5, RSA-PSS, ECDSA, Ed25519."""
        given = algorithm_of(algorithm)
        name = cast("str", given["name"])
        key.use("sign", name)
        if name == "HMAC":
            return ArrayBuffer(_hmac(key, as_bytes(data)))
        from . import ciphers

        return ArrayBuffer(ciphers.sign(name, given, key, as_bytes(data)))

    @_eager
    def verify(self, algorithm: object, key: CryptoKey, signature: object, data: object) -> bool:
        """Whether the signature is the key's."""
        given = algorithm_of(algorithm)
        name = cast("str", given["name"])
        key.use("verify", name)
        if name == "HMAC":
            return hmac.compare_digest(_hmac(key, as_bytes(data)), as_bytes(signature))
        from . import ciphers

        return ciphers.verify(name, given, key, as_bytes(signature), as_bytes(data))

    @_eager
    def encrypt(self, algorithm: object, key: CryptoKey, data: object) -> ArrayBuffer:
        """AES-GCM, AES-CBC, AES-CTR, RSA-OAEP."""
        from . import ciphers

        given = algorithm_of(algorithm)
        key.use("encrypt", cast("str", given["name"]))
        return ArrayBuffer(ciphers.encrypt(given, key, as_bytes(data)))

    @_eager
    def decrypt(self, algorithm: object, key: CryptoKey, data: object) -> ArrayBuffer:
        """Raises PerdureError (OperationError) for data that was changed, or another key."""
        from . import ciphers

        given = algorithm_of(algorithm)
        key.use("decrypt", cast("str", given["name"]))
        return ArrayBuffer(ciphers.decrypt(given, key, as_bytes(data)))

    @_eager
    def importKey(
        self, format: str, data: object, algorithm: object, extractable: object = False, usages: object = ()
    ) -> CryptoKey:
        """Formats: raw, jwk, pkcs8, spki."""
        from . import crypto_keys

        wanted = Array(usages) if isinstance(usages, list | tuple) else Array()
        return crypto_keys.import_key(format, data, algorithm_of(algorithm), bool(extractable), wanted)

    @_eager
    def exportKey(self, format: str, key: CryptoKey) -> object:
        from . import crypto_keys

        if not key.extractable:
            raise PerdureError("The key is not extractable", name="InvalidAccessError")
        return crypto_keys.export_key(format, key)

    @_eager
    def generateKey(self, algorithm: object, extractable: object = False, usages: object = ()) -> object:
        """A key, or a pair: `publicKey` and `privateKey`."""
        from . import crypto_keys

        wanted = Array(usages) if isinstance(usages, list | tuple) else Array()
        return crypto_keys.generate_key(algorithm_of(algorithm), bool(extractable), wanted)

    @_eager
    def deriveBits(self, algorithm: object, key: CryptoKey, length: int) -> ArrayBuffer:
        """PBKDF2, HKDF, ECDH, X25519; `length` in bits."""
        from . import crypto_keys

        return ArrayBuffer(crypto_keys.derive(algorithm_of(algorithm), key, length, "deriveBits"))

    @_eager
    def deriveKey(
        self, algorithm: object, key: CryptoKey, wanted: object, extractable: object = False, usages: object = ()
    ) -> CryptoKey:
        from . import crypto_keys

        target = algorithm_of(wanted)
        bits = crypto_keys.length_of(target)
        data = crypto_keys.derive(algorithm_of(algorithm), key, bits, "deriveKey")
        given = Array(usages) if isinstance(usages, list | tuple) else Array()
        return crypto_keys.import_key("raw", data, target, bool(extractable), given)

    @_eager
    def timingSafeEqual(self, one: object, other: object) -> bool:
        return equal(one, other)


def equal(one: object, other: object) -> bool:
    """Whether two buffers are equal, in a time that does not tell where they differ. Raises TypeError for other lengths."""
    first, second = as_bytes(one), as_bytes(other)
    if len(first) != len(second):
        raise PerdureError("Input buffers must have the same byte length", name="TypeError")
    return hmac.compare_digest(first, second)


def _hmac(key: CryptoKey, data: bytes) -> bytes:
    name = cast("str", cast("dict[str, object]", key.algorithm["hash"])["name"])
    return hmac.digest(cast("bytes", key.secret), data, _HASHES[name])


def hmac_length(given: dict[str, object]) -> int:
    """Bits of a key that is made for HMAC."""
    return (
        cast("int", given["length"]) if not missing(given.get("length")) else _BLOCKS[hash_name(given.get("hash"))] * 8
    )


def random_bytes(size: int) -> bytes:
    """From the operating system."""
    return secrets.token_bytes(size)
