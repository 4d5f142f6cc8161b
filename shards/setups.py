"""What an operator asks for: which program, where, how many processes, within which bounds. Checked before anything starts."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from ..bindings import ai, blob_store
from ..engine.errors import ConfigError
from ..engine.limits import Limits
from .quotas import Quotas

SHARDS_MAX = 64
DRAIN_S = 25.0
FIXED = (
    *(
        "program",
        "beside",
        "data",
        "host",
        "port",
        "shards",
        "gateways",
        "keepers",
        "tls_certificate",
        "tls_key",
        "router",
        "router_keys",
    ),
)
"""What a reload leaves as it is."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the operator asked for; checked before anything starts."""

    program: str
    data: str
    beside: tuple[str, ...] = ()
    """Further programs; the first one has the front door."""
    host: str = "127.0.0.1"
    port: int = 8787
    shards: int = 2
    gateways: int = 1
    keepers: int = 1
    """Processes that hold WebSockets of objects; started with the first one."""
    env_name: str | None = None
    development: bool = False
    tls_certificate: str | None = None
    tls_key: str | None = None
    router: str | None = None
    """`tcp://HOST:PORT` where clients of other machines enter, with CURVE keys of `router_keys`."""
    router_keys: str | None = None
    drain_s: float = DRAIN_S
    settings: dict[str, object] = field(default_factory=dict[str, object])
    quotas: dict[str, object] = field(default_factory=dict[str, object])
    classes: dict[str, object] = field(default_factory=dict[str, object])
    """Class name → bounds of its own. Which classes there are, the shards know."""
    bindings: dict[str, object] = field(default_factory=dict[str, object])
    """What the operator says of bindings: `r2`, `ai`."""

    @property
    def programs(self) -> tuple[str, ...]:
        """Paths of all programs, the one with the front door first."""
        return (self.program, *self.beside)

    def check(self) -> None:
        """Raises ConfigError with a hint."""
        Limits.from_settings(self.settings).of_classes(self.classes)
        Quotas.from_settings(self.quotas)
        blob_store.check_settings(self.bindings)
        ai.check_settings(self.bindings)
        if not 1 <= self.shards <= SHARDS_MAX:
            raise ConfigError(f"shards must be 1 to {SHARDS_MAX}, got {self.shards}")
        if not 1 <= self.gateways <= 64:
            raise ConfigError(f"gateways must be 1 to 64, got {self.gateways}")
        if not 1 <= self.keepers <= 64:
            raise ConfigError(f"keepers must be 1 to 64, got {self.keepers}")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be 0 to 65535, got {self.port}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both a certificate and a key", hint="give --tls-certificate and --tls-key")
        if self.router is not None and self.router_keys is None:
            raise ConfigError("a router on tcp:// needs CURVE keys", hint="make some with `perdure keys new FOLDER`")


def listen(host: str, port: int) -> socket.socket:
    """The socket of all gateways. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="choose another with --port, or see who listens there: `ss -ltnp`",
        ) from error
    return listener
