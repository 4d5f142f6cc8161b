"""CURVE keys: who may enter over tcp://. A folder holds the router's pair and its clients'; private files are 0600."""

from __future__ import annotations

import os

import zmq

from ..engine.errors import ConfigError

_FILES = ("router.public", "router.secret", "client.public", "client.secret")
_HINT = "make some with `perdure keys new FOLDER`"


def create(folder: str) -> list[str]:
    """Make a pair for the router and one for a client. Raises ConfigError: they exist, or cannot be written."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        taken = [name for name in _FILES if os.path.exists(f"{folder}/{name}")]
        if taken:
            raise ConfigError(f"{folder} has keys already ({', '.join(taken)})", hint="choose another folder")
        paths: list[str] = []
        for who in ("router", "client"):
            public, secret = zmq.curve_keypair()
            for kind, key in (("public", public), ("secret", secret)):
                path = f"{folder}/{who}.{kind}"
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if kind == "secret" else 0o644)
                with os.fdopen(fd, "wb") as file:
                    file.write(key + b"\n")
                paths.append(path)
    except OSError as error:
        raise ConfigError(f"cannot write keys to {folder}: {error.strerror}") from error
    return paths


def _read(folder: str, name: str) -> bytes:
    try:
        with open(f"{folder}/{name}", "rb") as file:
            key = file.read().strip()
    except OSError as error:
        raise ConfigError(f"cannot read {folder}/{name}: {error.strerror}", hint=_HINT) from error
    if len(key) != 40:
        raise ConfigError(f"{folder}/{name} is no CURVE key", hint=_HINT)
    return key


def read_client(folder: str | None) -> tuple[bytes, bytes, bytes]:
    """The router's public key and the client's pair. `folder` None: PERDURE_KEYS. Raises ConfigError."""
    folder = folder or os.environ.get("PERDURE_KEYS")
    if not folder:
        raise ConfigError("tcp:// needs CURVE keys", hint="give keys=FOLDER or set PERDURE_KEYS")
    return _read(folder, "router.public"), _read(folder, "client.public"), _read(folder, "client.secret")


def read_router(folder: str) -> tuple[bytes, bytes, list[bytes]]:
    """The router's pair, and the public keys of the clients that it lets in (`*.public` but its own)."""
    pair = _read(folder, "router.public"), _read(folder, "router.secret")
    clients = [
        _read(folder, name)
        for name in sorted(os.listdir(folder))
        if name.endswith(".public") and name != "router.public"
    ]
    if not clients:
        raise ConfigError(f"{folder} has no client's public key: nobody could enter", hint=_HINT)
    return *pair, clients
