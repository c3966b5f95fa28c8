"""A DNS server that knows one name: name_server.py ADDRESS NAME, until it is killed.

Says that NAME is 127.0.0.1, as the DNS of a container network says where another service is. Answers over UDP only.
"""

import socket
import struct
import sys

TYPE_A, CLASS_IN = 1, 1
NAME_ERROR = 3


def question(packet):
    """Name, type and end of the first question."""
    labels, at = [], 12
    while length := packet[at]:
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    (kind,) = struct.unpack("!H", packet[at + 1 : at + 3])
    return ".".join(labels).lower(), kind, at + 5


def answer(packet, known):
    """The answer to a query; a known name without an address of that kind has none, others do not exist."""
    name, kind, end = question(packet)
    found = name == known and kind == TYPE_A
    code = 0 if name == known else NAME_ERROR
    head = packet[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, int(found), 0, 0)
    record = struct.pack("!HHHIH4s", 0xC00C, TYPE_A, CLASS_IN, 1, 4, socket.inet_aton("127.0.0.1"))
    return head + packet[12:end] + (record if found else b"")


def main():
    address, known = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        print("ready", flush=True)
        while True:
            packet, peer = server.recvfrom(512)
            server.sendto(answer(packet, known), peer)


if __name__ == "__main__":
    main()
