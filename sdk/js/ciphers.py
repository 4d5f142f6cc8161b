"""Signatures and encryption of `crypto.subtle`, by `cryptography`."""

from __future__ import annotations

from typing import Any, cast

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from ...engine.errors import PerdureError
from .buffers import as_bytes
from .crypto_keys import hash_of, hash_of_key
from .proxies import missing
from .subtle import CryptoKey, operation_error

_BLOCK_BITS = 128


def sign(name: str, given: dict[str, object], key: CryptoKey, data: bytes) -> bytes:
    """The signature; ECDSA's as two numbers of the curve's size, as the standard has it."""
    secret = key.secret
    if name == "Ed25519":
        return secret.sign(data)
    if name == "ECDSA":
        size = (secret.curve.key_size + 7) // 8
        r, s = decode_dss_signature(secret.sign(data, ec.ECDSA(hash_of(given.get("hash")))))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return secret.sign(data, _rsa_padding(name, given, key), hash_of_key(key))


def verify(name: str, given: dict[str, object], key: CryptoKey, signature: bytes, data: bytes) -> bool:
    """Whether the signature is the key's."""
    public = key.secret
    try:
        if name == "Ed25519":
            public.verify(signature, data)
        elif name == "ECDSA":
            size = (public.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
            public.verify(encode_dss_signature(r, s), data, ec.ECDSA(hash_of(given.get("hash"))))
        else:
            public.verify(signature, data, _rsa_padding(name, given, key), hash_of_key(key))
    except InvalidSignature:
        return False
    return True


def _rsa_padding(name: str, given: dict[str, object], key: CryptoKey) -> padding.AsymmetricPadding:
    if name == "RSASSA-PKCS1-v1_5":
        return padding.PKCS1v15()
    if name == "RSA-PSS":
        return padding.PSS(padding.MGF1(hash_of_key(key)), int(cast("int", given["saltLength"])))
    label = given.get("label")
    return padding.OAEP(padding.MGF1(hash_of_key(key)), hash_of_key(key), None if missing(label) else as_bytes(label))


def encrypt(given: dict[str, object], key: CryptoKey, data: bytes) -> bytes:
    """The data encrypted; AES-GCM's with the tag behind it."""
    name = cast("str", given["name"])
    if name == "RSA-OAEP":
        return _guarded(lambda: key.secret.encrypt(data, _rsa_padding(name, given, key)))
    mode, tag_bytes = _mode(given)
    encryptor = Cipher(algorithms.AES(key.secret), mode).encryptor()
    if name == "AES-GCM":
        _authenticate(encryptor, given)
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag[:tag_bytes]
    return encryptor.update(_padded(data) if name == "AES-CBC" else data) + encryptor.finalize()


def decrypt(given: dict[str, object], key: CryptoKey, data: bytes) -> bytes:
    """Raises PerdureError (OperationError) for what was not encrypted like that."""
    name = cast("str", given["name"])
    if name == "RSA-OAEP":
        return _guarded(lambda: key.secret.decrypt(data, _rsa_padding(name, given, key)))
    return _guarded(lambda: _decrypted(name, given, key, data))


def _decrypted(name: str, given: dict[str, object], key: CryptoKey, data: bytes) -> bytes:
    if name != "AES-GCM":
        decryptor = Cipher(algorithms.AES(key.secret), _mode(given)[0]).decryptor()
        plain = decryptor.update(data) + decryptor.finalize()
        if name == "AES-CBC":
            unpadder = PKCS7(_BLOCK_BITS).unpadder()
            plain = unpadder.update(plain) + unpadder.finalize()
        return plain
    _, tag_bytes = _mode(given)
    if len(data) < tag_bytes:
        raise ValueError("too short")
    mode = modes.GCM(as_bytes(given["iv"]), data[-tag_bytes:], min_tag_length=tag_bytes)
    decryptor = Cipher(algorithms.AES(key.secret), mode).decryptor()
    _authenticate(decryptor, given)
    return decryptor.update(data[:-tag_bytes]) + decryptor.finalize()


def _mode(given: dict[str, object]) -> tuple[Any, int]:
    """The mode of AES, and how many bytes the tag has."""
    name = given["name"]
    try:
        if name == "AES-GCM":
            tag_bits = given.get("tagLength")
            return modes.GCM(as_bytes(given["iv"])), (128 if missing(tag_bits) else int(cast("int", tag_bits))) // 8
        if name == "AES-CBC":
            return modes.CBC(as_bytes(given["iv"])), 0
        if name == "AES-CTR":
            return modes.CTR(as_bytes(given["counter"])), 0
    except (KeyError, ValueError) as error:
        raise operation_error(error) from None
    raise PerdureError(f"{name} does not encrypt", name="NotSupportedError")


def _authenticate(context: Any, given: dict[str, object]) -> None:
    more = given.get("additionalData")
    if not missing(more):
        context.authenticate_additional_data(as_bytes(more))


def _padded(data: bytes) -> bytes:
    padder = PKCS7(_BLOCK_BITS).padder()
    return padder.update(data) + padder.finalize()


def _guarded(work: Any) -> bytes:
    try:
        return cast("bytes", work())
    except (ValueError, InvalidTag, KeyError) as error:
        raise operation_error(error) from None
