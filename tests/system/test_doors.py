"""Who may enter: TLS at the gateway, CURVE keys at the router endpoint, nothing else on TCP."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
import stat
import subprocess
import time

import httpx
import perdure
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from perdure.engine.errors import NotConnected

from .runtime import EXAMPLES, PERDURE, children, run_failing, serving

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"


def certificate(folder) -> tuple[str, str]:
    """A certificate for localhost that lasts a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    with open(paths[0], "wb") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM))
    with open(paths[1], "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return paths


def test_tls(tmp_path) -> None:
    cert, key = certificate(tmp_path)
    flags = ("--tls-certificate", cert, "--tls-key", key)
    with serving(COUNTER, str(tmp_path / "data"), *flags) as runtime:
        assert runtime.url.startswith("https://")
        port = runtime.url.rsplit(":", 1)[1]
        with httpx.Client(verify=ssl.create_default_context(cafile=cert)) as client:
            assert client.post(f"https://localhost:{port}/counter/a/increment").text == "1\n"
            assert client.post(f"https://localhost:{port}/counter/a/increment").text == "2\n"
    code, said = run_failing(COUNTER, str(tmp_path / "data"), "--tls-certificate", cert)
    assert code == 1
    assert "both a certificate and a key" in said


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_tcp_needs_a_known_key(tmp_path) -> None:
    keys, strangers = str(tmp_path / "keys"), str(tmp_path / "strangers")
    for folder in (keys, strangers):
        done = subprocess.run([PERDURE, "keys", "new", folder], capture_output=True, text=True, check=True)
        assert len(done.stdout.split()) == 4
        assert stat.S_IMODE(os.stat(f"{folder}/client.secret").st_mode) == 0o600
    again = subprocess.run([PERDURE, "keys", "new", keys], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "has keys already" in again.stderr
    address = f"tcp://127.0.0.1:{free_port()}"
    with serving(COUNTER, str(tmp_path / "data"), "--router", address, "--router-keys", keys) as runtime:

        async def run() -> None:
            async with perdure.connect(address, keys=keys) as client:
                assert await client.namespace("Counter").getByName("a").increment() == 1
            # A stranger who knows the router's public key, with a pair of its own.
            with open(f"{strangers}/router.public", "wb") as file, open(f"{keys}/router.public", "rb") as known:
                file.write(known.read())
            with pytest.raises(NotConnected):
                await perdure.connect(address, keys=strangers)

        asyncio.run(run())
        time.sleep(0.1)
        assert "client_refused" in runtime.text()
    code, said = run_failing(COUNTER, str(tmp_path / "data"), "--router", address)
    assert code == 1
    assert "needs CURVE keys" in said


def test_no_tcp_port_but_the_gateway_s_and_sockets_in_a_private_folder(tmp_path) -> None:
    with serving(COUNTER, str(tmp_path / "data")) as runtime:
        asked = [str(pid) for pid in [runtime.process.pid, *children(runtime.process.pid)]]
        listening: set[str] = set()
        for pid in asked:
            inodes = set()
            for name in os.listdir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"/proc/{pid}/fd/{name}")
                except FileNotFoundError:
                    continue
                if target.startswith("socket:"):
                    inodes.add(target[8:-1])
            for table in ("tcp", "tcp6"):
                with open(f"/proc/net/{table}") as file:
                    for line in file.readlines()[1:]:
                        fields = line.split()
                        if fields[3] == "0A" and fields[9] in inodes:
                            listening.add(fields[1])
        port = int(runtime.url.rsplit(":", 1)[1])
        assert listening == {f"0100007F:{port:04X}"}
        folder = os.path.dirname(runtime.address.removeprefix("ipc://"))
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert len(folder) < 107


def test_a_long_data_path_gets_a_short_folder_for_its_sockets(tmp_path) -> None:
    data = tmp_path / ("long" * 30) / "data"
    with serving(COUNTER, str(data)) as runtime:
        assert httpx.post(f"{runtime.url}/counter/a/increment").text == "1\n"
        folder = os.path.dirname(runtime.address.removeprefix("ipc://"))
        assert not folder.startswith(str(data))
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert runtime.stop() == 0
    assert not os.path.exists(folder)
