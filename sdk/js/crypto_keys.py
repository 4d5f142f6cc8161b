"""Keys of `crypto.subtle`: imported, exported, generated and derived."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...engine.errors import PerdureError
from .arrays import Array
from .buffers import ArrayBuffer, as_bytes
from .objects import JsObject
from .proxies import missing, options, to_text
from .subtle import CryptoKey, hash_name, hmac_length, operation_error, random_bytes

SECRETS = frozenset({"HMAC", "AES-GCM", "AES-CBC", "AES-CTR", "AES-KW", "PBKDF2", "HKDF"})
RSA = frozenset({"RSASSA-PKCS1-v1_5", "RSA-PSS", "RSA-OAEP"})
CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_HASH_CLASSES: dict[str, type[hashes.HashAlgorithm]] = {
    "SHA-1": hashes.SHA1,
    "SHA-256": hashes.SHA256,
    "SHA-384": hashes.SHA384,
    "SHA-512": hashes.SHA512,
}
_OWN = {
    "Ed25519": (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
    "X25519": (x25519.X25519PublicKey, x25519.X25519PrivateKey),
}
_RAW = serialization.Encoding.Raw
_PUBLIC_USAGES = frozenset({"verify", "encrypt", "wrapKey"})


def hash_of(name: object) -> hashes.HashAlgorithm:
    """A hash of `cryptography` by the standard's name."""
    return _HASH_CLASSES[hash_name(name)]()


def hash_of_key(key: CryptoKey) -> hashes.HashAlgorithm:
    return hash_of(cast("dict[str, object]", key.algorithm["hash"])["name"])


def data_error(text: str) -> PerdureError:
    return PerdureError(text, name="DataError")


def from_base64url(text: object) -> bytes:
    """Raises PerdureError (DataError)."""
    given = to_text(text)
    try:
        return base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise data_error("a JWK's field is no base64url") from None


def to_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _described(given: dict[str, object], secret: object) -> JsObject:
    """The algorithm of a key, as `key.algorithm` shows it."""
    name = cast("str", given["name"])
    found = JsObject(name=name)
    if name == "HMAC" or name in RSA:
        found["hash"] = JsObject(name=hash_name(given.get("hash")))
    if isinstance(secret, bytes) and name not in ("PBKDF2", "HKDF"):
        found["length"] = len(secret) * 8
    if isinstance(secret, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        found["modulusLength"] = secret.key_size
    if name in ("ECDSA", "ECDH"):
        found["namedCurve"] = to_text(given.get("namedCurve"))
    return found


def import_key(format: str, data: object, given: dict[str, object], extractable: bool, usages: Array) -> CryptoKey:
    """Raises PerdureError: DataError for data that is no such key, NotSupportedError for a format."""
    name = cast("str", given["name"])
    try:
        if name in SECRETS:
            secret: object = _secret(format, data, name)
            kind = "secret"
        else:
            secret = _asymmetric(format, data, given, usages)
            kind = "private" if hasattr(secret, "private_bytes") else "public"
    except PerdureError:
        raise
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
        raise data_error(f"the data is no key for {name}: {error}") from None
    return CryptoKey(kind, _described(given, secret), extractable, usages, secret)


def _secret(format: str, data: object, name: str) -> bytes:
    if format == "jwk":
        fields = _jwk(data)
        if fields.get("kty") != "oct":
            raise data_error('the "kty" of the JWK must be "oct"')
        secret = from_base64url(fields.get("k"))
    elif format == "raw":
        secret = as_bytes(data)
    else:
        raise PerdureError(f'Unsupported format "{format}" for {name}', name="NotSupportedError")
    if name.startswith("AES") and len(secret) not in (16, 24, 32):
        raise data_error(f"an AES key has 128, 192 or 256 bits, not {len(secret) * 8}")
    return secret


def _jwk(data: object) -> Mapping[str, object]:
    return data if isinstance(data, Mapping) else options(data, {})


def _asymmetric(format: str, data: object, given: dict[str, object], usages: Array) -> object:
    name = cast("str", given["name"])
    if format == "pkcs8":
        return _checked(serialization.load_der_private_key(as_bytes(data), None), given)
    if format == "spki":
        return _checked(serialization.load_der_public_key(as_bytes(data)), given)
    if format == "raw":
        if name in _OWN:
            return _OWN[name][0].from_public_bytes(as_bytes(data))
        if name in ("ECDSA", "ECDH"):
            return ec.EllipticCurvePublicKey.from_encoded_point(_curve(given), as_bytes(data))
    if format == "jwk":
        return _checked(_from_jwk(_jwk(data), given), given)
    raise PerdureError(f'Unsupported format "{format}" for {name}', name="NotSupportedError")


def _curve(given: dict[str, object]) -> ec.EllipticCurve:
    found = CURVES.get(to_text(given.get("namedCurve")))
    if found is None:
        raise PerdureError(f"Unrecognized curve: {to_text(given.get('namedCurve'))}", name="NotSupportedError")
    return found()


def _checked(key: Any, given: dict[str, object]) -> object:
    """The key, if it is one of its algorithm."""
    name = cast("str", given["name"])
    if name in RSA:
        good = isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey)
    elif name in _OWN:
        good = isinstance(key, _OWN[name])
    else:
        wanted = _curve(given)
        good = isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) and key.curve.name == wanted.name
    if not good:
        raise data_error(f"the key is not one for {name}")
    return key


def _number(fields: Mapping[str, object], name: str) -> int:
    return int.from_bytes(from_base64url(fields[name]), "big")


def _from_jwk(fields: Mapping[str, object], given: dict[str, object]) -> object:
    kind = fields.get("kty")
    if kind == "RSA":
        public = rsa.RSAPublicNumbers(_number(fields, "e"), _number(fields, "n"))
        if "d" not in fields:
            return public.public_key()
        p, q, d, dp, dq, qi = (_number(fields, name) for name in ("p", "q", "d", "dp", "dq", "qi"))
        return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()
    if kind == "EC":
        curve = _curve({"namedCurve": fields.get("crv")})
        public_point = ec.EllipticCurvePublicNumbers(_number(fields, "x"), _number(fields, "y"), curve)
        if "d" not in fields:
            return public_point.public_key()
        return ec.EllipticCurvePrivateNumbers(_number(fields, "d"), public_point).private_key()
    if kind == "OKP":
        public_kind, private_kind = _OWN[cast("str", given["name"])]
        if "d" in fields:
            return private_kind.from_private_bytes(from_base64url(fields["d"]))
        return public_kind.from_public_bytes(from_base64url(fields["x"]))
    raise data_error(f'unknown "kty" of a JWK: {to_text(kind)}')


def export_key(format: str, key: CryptoKey) -> object:
    """The key as a buffer, or a JWK. Raises PerdureError (NotSupportedError, InvalidAccessError)."""
    secret = key.secret
    if isinstance(secret, bytes):
        if format == "raw":
            return ArrayBuffer(secret)
        if format == "jwk":
            return JsObject(kty="oct", k=to_base64url(secret), ext=True, key_ops=Array(key.usages), **_alg(key))
    elif format == "pkcs8" and key.type == "private":
        return ArrayBuffer(
            secret.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    elif format == "spki" and key.type == "public":
        return ArrayBuffer(
            secret.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    elif format == "raw" and key.type == "public" and key.algorithm["name"] not in RSA:
        return ArrayBuffer(_raw_public(secret))
    elif format == "jwk":
        return _to_jwk(key)
    raise PerdureError(
        f'Unsupported format "{format}" for a {key.type} key of {key.algorithm["name"]}', name="NotSupportedError"
    )


def _alg(key: CryptoKey) -> dict[str, object]:
    name = cast("str", key.algorithm["name"])
    if name == "HMAC":
        return {"alg": f"HS{hash_of_key(key).digest_size * 8}".replace("HS160", "HS1")}
    return {"alg": f"A{cast('int', key.algorithm['length'])}{name[4:]}"} if name.startswith("AES") else {}


def _raw_public(secret: Any) -> bytes:
    if isinstance(secret, ec.EllipticCurvePublicKey):
        return secret.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return secret.public_bytes(_RAW, serialization.PublicFormat.Raw)


def _to_jwk(key: CryptoKey) -> JsObject:
    secret = key.secret
    found = JsObject(key_ops=Array(key.usages), ext=True)
    private = key.type == "private"
    public = secret.public_key() if private else secret

    def put(name: str, number: int, size: int | None = None) -> None:
        found[name] = to_base64url(number.to_bytes(size or max((number.bit_length() + 7) // 8, 1), "big"))

    if isinstance(public, rsa.RSAPublicKey):
        found["kty"] = "RSA"
        numbers = public.public_numbers()
        put("n", numbers.n)
        put("e", numbers.e)
        if private:
            secrets = secret.private_numbers()
            for name, number in zip(
                ("d", "p", "q", "dp", "dq", "qi"),
                (secrets.d, secrets.p, secrets.q, secrets.dmp1, secrets.dmq1, secrets.iqmp),
                strict=True,
            ):
                put(name, number)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        size = (public.curve.key_size + 7) // 8
        found["kty"], found["crv"] = "EC", key.algorithm["namedCurve"]
        put("x", public.public_numbers().x, size)
        put("y", public.public_numbers().y, size)
        if private:
            put("d", secret.private_numbers().private_value, size)
    else:
        found["kty"], found["crv"] = "OKP", key.algorithm["name"]
        found["x"] = to_base64url(_raw_public(public))
        if private:
            found["d"] = to_base64url(
                secret.private_bytes(_RAW, serialization.PrivateFormat.Raw, serialization.NoEncryption())
            )
    return found


def length_of(given: dict[str, object]) -> int:
    """Bits of a secret key of the algorithm."""
    name = cast("str", given["name"])
    if name == "HMAC":
        return hmac_length(given)
    if missing(given.get("length")):
        raise PerdureError(f"{name} needs a length", name="OperationError")
    return int(cast("int", given["length"]))


def generate_key(given: dict[str, object], extractable: bool, usages: Array) -> object:
    """A secret key, or a pair of keys. Raises PerdureError (NotSupportedError)."""
    name = cast("str", given["name"])
    if name in ("PBKDF2", "HKDF"):
        raise PerdureError(f"{name} keys cannot be generated", name="NotSupportedError")
    if name in SECRETS:
        return import_key("raw", random_bytes(length_of(given) // 8), given, extractable, usages)
    if name in RSA:
        exponent = int.from_bytes(as_bytes(given.get("publicExponent") or b"\x01\x00\x01"), "big")
        private: Any = rsa.generate_private_key(exponent, int(cast("int", given["modulusLength"])))
    elif name in _OWN:
        private = _OWN[name][1].generate()
    else:
        private = ec.generate_private_key(_curve(given))
    public = private.public_key()
    others = Array(usage for usage in usages if usage not in _PUBLIC_USAGES)
    mine = Array(usage for usage in usages if usage in _PUBLIC_USAGES)
    return JsObject(
        publicKey=CryptoKey("public", _described(given, public), True, mine, public),
        privateKey=CryptoKey("private", _described(given, private), extractable, others, private),
    )


def derive(given: dict[str, object], key: CryptoKey, bits: int, usage: str) -> bytes:
    """`bits` bits from a key. Raises PerdureError (OperationError, InvalidAccessError)."""
    name = cast("str", given["name"])
    key.use(usage, name)
    if bits % 8:
        raise PerdureError("the length must be a multiple of 8 bits", name="OperationError")
    try:
        if name == "PBKDF2":
            algorithm = hash_name(given.get("hash")).replace("-", "").lower()
            rounds = int(cast("int", given["iterations"]))
            return hashlib.pbkdf2_hmac(algorithm, key.secret, as_bytes(given["salt"]), rounds, bits // 8)
        if name == "HKDF":
            extract = HKDF(hash_of(given.get("hash")), bits // 8, as_bytes(given["salt"]), as_bytes(given["info"]))
            return extract.derive(key.secret)
        other = cast("CryptoKey", given["public"]).secret
        shared = cast("bytes", key.secret.exchange(ec.ECDH(), other) if name == "ECDH" else key.secret.exchange(other))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise operation_error(error) from None
    if bits // 8 > len(shared):
        raise PerdureError("more bits are asked for than the secret has", name="OperationError")
    return shared[: bits // 8]
