"""Clients that give dashboards something to show: odd_client.py HOST:PORT, until it is killed.

Each reads its books at some kilobytes a second, so that it is caught up by merged updates; asks for what is refused; and comes back
every few seconds naming a place that nobody knows. Checks nothing: the load generator and the clients' tests do.
"""

import base64
import json
import os
import socket
import struct
import sys
import threading
import time

BYTES_PER_READ = 2_048
READ_EVERY_S = 0.05
STAY_S = 8


def frame(text):
    """A masked text frame."""
    payload = text.encode()
    mask = os.urandom(4)
    head = struct.pack("!BB", 0x81, 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, len(payload))
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def subscribe(channel, **more):
    return json.dumps({"method": "subscribe", "params": {"channel": channel, **more}})


def connect(host, port):
    """An upgraded connection with a small receive buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect((host, port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(f"GET /v2?ext=1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                 "Sec-WebSocket-Version: 13\r\n\r\n".encode())
    return sock


def symbols(host, port):
    """The names of all pairs."""
    with socket.create_connection((host, port), timeout=5) as sock:
        sock.sendall(f"GET /0/public/AssetPairs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    return list(json.loads(answer.split(b"\r\n\r\n", 1)[1])["result"])


def stay(host, port, names):
    """One visit."""
    with connect(host, port) as sock:
        sock.sendall(frame(subscribe("book", symbol=names, depth=100)))
        sock.sendall(frame(subscribe("ticker", symbol=names[:1], resume={"epoch": 1, "seq": 1})))
        sock.sendall(frame(subscribe("trade", symbol=names[:1], policy="conflate")))
        sock.sendall(frame(subscribe("book", symbol=["NO/NO"])))
        until = time.monotonic() + STAY_S
        while time.monotonic() < until and sock.recv(BYTES_PER_READ):
            time.sleep(READ_EVERY_S)


def live(address, wait_s):
    """Comes, stays, breaks off, and comes again."""
    host, port = address.rsplit(":", 1)
    time.sleep(wait_s)
    while True:
        stay(host, int(port), symbols(host, int(port))[:20])


def main():
    threads = [threading.Thread(target=live, args=(sys.argv[1], number * 1.3), daemon=True) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


if __name__ == "__main__":
    main()
