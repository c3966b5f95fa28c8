#!/usr/bin/env python3
"""User memory of connections with nothing to do, plain and over TLS: idle.py [CONNECTIONS], 5,000 of each by default.

Starts the release build of the gateway (target/release/gateway) with a certificate made for the occasion, opens the connections in
one go, each with a subscription that nothing is published on, and prints how much the gateway's anonymous memory grew for each.
The first two hundred of either kind are not counted: what they leave with the allocator serves all that come later. Judges nothing,
and needs openssl and as many open files as connections.
"""

import asyncio
import base64
import json
import os
import pathlib
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WARM = 200
AT_ONCE = 64
DEADLINE_S = 120


def free_ports(count):
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(folder, plain, tls, admin):
    """The gateway, with heartbeats so rare that none is sent meanwhile."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    settings = {
        "GATEWAY_PUBLIC_LISTEN": f"127.0.0.1:{plain}",
        "GATEWAY_TLS_LISTEN": f"127.0.0.1:{tls}",
        "GATEWAY_TLS_CERTIFICATE": str(certificate),
        "GATEWAY_TLS_KEY": str(key),
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "GATEWAY_LIMITS_HEARTBEAT_MS": "600000",
        "GATEWAY_LIMITS_STALL_MS": "600000",
        "GATEWAY_INBOUND_REQUESTS_PER_S": "0",
        "GATEWAY_SHARDS_COUNT": "1",
    }
    log = open(folder / "log", "wb")
    gateway = subprocess.Popen([ROOT / "target/release/gateway"], env=os.environ | settings, stdout=log, stderr=log)
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", tls)).close()
            return gateway
        except OSError:
            if gateway.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the gateway does not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.1)


def anonymous_bytes(gateway):
    """What the process has for itself."""
    for line in pathlib.Path(f"/proc/{gateway.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the system does not tell a process's anonymous memory")


async def connect(port, context, gate):
    """One connection, upgraded and subscribed."""
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 16)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /v2 HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"no upgrade: {head!r}")
        request = json.dumps({"method": "subscribe", "params": {"channel": "instrument", "snapshot": False}}).encode()
        mask = os.urandom(4)
        payload = bytes(octet ^ mask[at % 4] for at, octet in enumerate(request))
        writer.write(bytes([0x81, 0x80 | len(request)]) + mask + payload)
        await reader.readuntil(b'"success":true')
        return reader, writer


async def measure(gateway, port, context, count):
    """Bytes that one connection costs."""
    gate = asyncio.Semaphore(AT_ONCE)
    held = await asyncio.gather(*(connect(port, context, gate) for _ in range(WARM)))
    await asyncio.sleep(1)
    before = anonymous_bytes(gateway)
    held += await asyncio.gather(*(connect(port, context, gate) for _ in range(count)))
    await asyncio.sleep(1)
    grown = anonymous_bytes(gateway) - before
    for _, writer in held:
        writer.transport.abort()
    return grown / count


async def main():
    """Measures both kinds, one after the other."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    needed = 2 * (count + WARM) + 100
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < needed:
        raise SystemExit(f"{needed} open files are needed, {most} are allowed: raise the limit or ask for fewer connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        plain, tls, admin = free_ports(3)
        for name, port, context in [("plain", plain, None), ("TLS 1.3", tls, trusting)]:
            # A gateway of its own for each: memory that one kind leaves would serve the other.
            gateway = start(pathlib.Path(folder), plain, tls, admin)
            try:
                cost = await asyncio.wait_for(measure(gateway, port, context, count), DEADLINE_S)
                print(f"{name}: {cost:,.0f} bytes of user memory for each of {count:,} connections")
            finally:
                gateway.terminate()
                gateway.wait()


asyncio.run(main())
