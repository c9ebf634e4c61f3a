"""echo.py NAME: answers every UDP datagram and TCP connection on port 7000, at any address, with NAME.

A UDP answer must leave from the address that was asked (a service address on lo), not from the one the kernel would
choose for the route back; hence the packet-info messages.
"""

import selectors
import socket
import struct
import sys

PORT = 7000
NAME = sys.argv[1].encode()
# Not in Python's socket module; values of linux/in6.h and linux/in.h.
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50


def listen(family, kind):
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_DGRAM and family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    elif kind == socket.SOCK_DGRAM:
        s.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    s.bind(("", PORT))
    if kind == socket.SOCK_STREAM:
        s.listen(128)
    s.setblocking(False)
    return s


def answer(s):
    if s.type == socket.SOCK_STREAM:
        peer, _ = s.accept()
        with peer:
            peer.settimeout(1)
            peer.sendall(NAME)
        return
    question, ancillary, _, peer = s.recvmsg(2048, 256)
    source = []
    for level, kind, info in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            source = [(level, kind, struct.pack("=i4s4s", 0, info[8:12], b"\0" * 4))]
        elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            source = [(level, kind, info[:16] + struct.pack("=i", 0))]
    s.sendmsg([NAME + b" " + question[:64]], source, 0, peer)


watched = selectors.DefaultSelector()
for family in (socket.AF_INET, socket.AF_INET6):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        watched.register(listen(family, kind), selectors.EVENT_READ)
while True:
    for key, _ in watched.select():
        try:
            answer(key.fileobj)
        except OSError:
            pass  # that client is gone, or there is no way back to it: the next one may be luckier
