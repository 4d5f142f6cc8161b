"""`crypto`: random values; digests, signatures, encryption and derived keys, against known vectors and Python's own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re

import pytest
from perdure.sdk import js
from perdure.sdk.pyodide.ffi import JsException, to_js

subtle = js.crypto.subtle
KEY = bytes(range(32))


def options(**fields):
    return to_js(fields, dict_converter=js.Object.fromEntries)


def done(work):
    """What it gives, with a loop around it."""

    async def wait():
        return await work()

    return asyncio.run(wait())


def test_random_values():
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", js.crypto.randomUUID())
    view = js.Uint8Array.new(32)
    assert js.crypto.getRandomValues(view) is view
    assert view.to_bytes() != bytes(32)
    with pytest.raises(JsException, match="QuotaExceededError"):
        js.crypto.getRandomValues(js.Uint8Array.new(65_537))


@pytest.mark.parametrize("name", ["SHA-1", "SHA-256", "SHA-384", "SHA-512", "MD5"])
def test_digests(name):
    expected = hashlib.new(name.replace("-", "").lower(), b"data").digest()
    assert done(lambda: subtle.digest(name, b"data")).to_bytes() == expected
    assert done(lambda: subtle.digest(options(name=name.lower()), js.Uint8Array.new(b"data"))).to_bytes() == expected


def test_hmac():
    async def work():
        algorithm = options(name="HMAC", hash="SHA-256")
        key = await subtle.importKey("raw", to_js(KEY), algorithm, False, to_js(["sign", "verify"]))
        signature = await subtle.sign("HMAC", key, js.TextEncoder.new().encode("hello"))
        assert signature.to_bytes() == hmac.digest(KEY, b"hello", "sha256")
        assert await subtle.verify("HMAC", key, signature, b"hello")
        assert not await subtle.verify("HMAC", key, signature, b"hullo")
        assert [key.type, key.algorithm.hash.name, key.algorithm.length] == ["secret", "SHA-256", 256]
        with pytest.raises(JsException, match="InvalidAccessError"):
            await subtle.exportKey("raw", key)
        signer = await subtle.importKey("raw", KEY, algorithm, True, ["sign"])
        with pytest.raises(JsException, match='InvalidAccessError: Requested key usage "verify"'):
            await subtle.verify("HMAC", signer, signature, b"hello")
        jwk = await subtle.exportKey("jwk", signer)
        assert [jwk.kty, jwk.alg] == ["oct", "HS256"]
        again = await subtle.importKey("jwk", jwk, algorithm, True, ["sign"])
        assert (await subtle.exportKey("raw", again)).to_bytes() == KEY

    asyncio.run(work())


@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "AES-GCM", "iv": bytes(12)},
        {"name": "AES-GCM", "iv": bytes(12), "additionalData": b"more", "tagLength": 96},
        {"name": "AES-CBC", "iv": bytes(16)},
        {"name": "AES-CTR", "counter": bytes(16), "length": 64},
    ],
)
def test_encryption(algorithm):
    async def work():
        key = await subtle.importKey("raw", KEY, algorithm["name"], False, ["encrypt", "decrypt"])
        hidden = await subtle.encrypt(options(**algorithm), key, b"the data")
        assert hidden.to_bytes() != b"the data"
        assert (await subtle.decrypt(options(**algorithm), key, hidden)).to_bytes() == b"the data"
        if algorithm["name"] == "AES-GCM":
            changed = js.Uint8Array.new(hidden.to_bytes())
            changed[0] = changed[0] ^ 1
            with pytest.raises(JsException, match="OperationError"):
                await subtle.decrypt(options(**algorithm), key, changed)

    asyncio.run(work())


def test_aes_gcm_of_a_known_vector():
    async def work():
        key = await subtle.importKey("raw", bytes(16), "AES-GCM", False, ["encrypt"])
        hidden = await subtle.encrypt({"name": "AES-GCM", "iv": bytes(12)}, key, bytes(16))
        assert hidden.to_bytes().hex() == "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"

    asyncio.run(work())


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ({"name": "ECDSA", "namedCurve": "P-256"}, {"name": "ECDSA", "hash": "SHA-256"}),
        ({"name": "ECDSA", "namedCurve": "P-384"}, {"name": "ECDSA", "hash": "SHA-384"}),
        ({"name": "Ed25519"}, {"name": "Ed25519"}),
        (
            {"name": "RSASSA-PKCS1-v1_5", "modulusLength": 2048, "publicExponent": b"\1\0\1", "hash": "SHA-256"},
            {"name": "RSASSA-PKCS1-v1_5"},
        ),
        (
            {"name": "RSA-PSS", "modulusLength": 2048, "publicExponent": b"\1\0\1", "hash": "SHA-256"},
            {"name": "RSA-PSS", "saltLength": 32},
        ),
    ],
    ids=lambda given: f"{given['name']} {given.get('namedCurve', '')}",
)
def test_signatures_of_pairs_that_are_exported_and_imported(made, used):
    async def work():
        pair = await subtle.generateKey(options(**made), True, to_js(["sign", "verify"]))
        signature = await subtle.sign(options(**used), pair.privateKey, b"data")
        private = await subtle.exportKey("jwk", pair.privateKey)
        for format in ("jwk", "spki"):
            public = await subtle.exportKey(format, pair.publicKey)
            key = await subtle.importKey(format, public, options(**made), True, ["verify"])
            assert await subtle.verify(options(**used), key, signature, b"data")
            assert not await subtle.verify(options(**used), key, signature, b"date")
        for format, data in (("jwk", private), ("pkcs8", await subtle.exportKey("pkcs8", pair.privateKey))):
            key = await subtle.importKey(format, data, options(**made), True, ["sign"])
            again = await subtle.sign(options(**used), key, b"data")
            assert await subtle.verify(options(**used), pair.publicKey, again, b"data")

    asyncio.run(work())


def test_rsa_oaep():
    async def work():
        algorithm = {"name": "RSA-OAEP", "modulusLength": 2048, "publicExponent": b"\1\0\1", "hash": "SHA-256"}
        pair = await subtle.generateKey(algorithm, True, ["encrypt", "decrypt"])
        hidden = await subtle.encrypt("RSA-OAEP", pair.publicKey, b"data")
        assert (await subtle.decrypt("RSA-OAEP", pair.privateKey, hidden)).to_bytes() == b"data"
        with pytest.raises(JsException, match="OperationError"):
            await subtle.decrypt("RSA-OAEP", pair.privateKey, bytes(256))

    asyncio.run(work())


def test_derived_keys():
    async def work():
        password = await subtle.importKey("raw", b"password", "PBKDF2", False, ["deriveBits", "deriveKey"])
        algorithm = options(name="PBKDF2", salt=b"salt", iterations=1000, hash="SHA-256")
        bits = await subtle.deriveBits(algorithm, password, 256)
        assert bits.to_bytes() == hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1000, 32)
        key = await subtle.deriveKey(algorithm, password, options(name="AES-GCM", length=256), True, ["encrypt"])
        assert (await subtle.exportKey("raw", key)).to_bytes() == bits.to_bytes()
        secret = await subtle.importKey("raw", KEY, "HKDF", False, ["deriveBits"])
        found = await subtle.deriveBits({"name": "HKDF", "salt": b"", "info": b"", "hash": "SHA-256"}, secret, 128)
        assert found.byteLength == 16
        for name, more in (("ECDH", {"namedCurve": "P-256"}), ("X25519", {})):
            one = await subtle.generateKey(options(name=name, **more), False, ["deriveBits"])
            other = await subtle.generateKey(options(name=name, **more), False, ["deriveBits"])
            shared = [
                await subtle.deriveBits({"name": name, "public": theirs.publicKey}, mine.privateKey, 256)
                for mine, theirs in ((one, other), (other, one))
            ]
            assert shared[0].to_bytes() == shared[1].to_bytes()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda: subtle.digest("SHA-3", b""), "NotSupportedError: Unrecognized algorithm"),
        (lambda: subtle.digest("HMAC", b""), "NotSupportedError"),
        (lambda: subtle.digest("SHA-256", "text"), "TypeError"),
        (lambda: subtle.importKey("raw", b"short", "AES-GCM", False, []), "DataError"),
        (lambda: subtle.importKey("pkcs8", b"x", {"name": "ECDSA", "namedCurve": "P-256"}, False, []), "DataError"),
        (lambda: subtle.importKey("spki", b"x", "HMAC", False, []), "NotSupportedError"),
        (lambda: subtle.generateKey({"name": "ECDSA", "namedCurve": "P-1"}, False, []), "NotSupportedError"),
        (lambda: subtle.timingSafeEqual(b"a", b"ab"), "TypeError"),
    ],
)
def test_mistakes(work, error):
    with pytest.raises(JsException, match=error):
        done(work)


def test_an_error_that_nobody_awaits_is_quiet():
    async def work():
        subtle.digest("SHA-3", b"")

    asyncio.run(work())
