"""ask.py ADDRESS [N] [--tcp] [--device ethN] [--wait SECONDS]: N flows, each from a source port of its own, to
port 7000 of ADDRESS; prints which servers answered how many of them, and how many were lost:

    {"answers": {"s1": 22, "s3": 18}, "lost": 0, "flows": 40}
"""

import argparse
import ipaddress
import json
import selectors
import socket
import sys
import time

PORT = 7000
AT_ONCE = 200
# Only what can exist in the lab is ever asked: documentation ranges and private addresses.
LAB_NETWORKS = [ipaddress.ip_network(n) for n in (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
    "fc00::/7", "2001:db8::/32")]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("address", type=ipaddress.ip_address)
    parser.add_argument("flows", type=int, nargs="?", default=40)
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--device")
    parser.add_argument("--wait", type=float, default=1.0, help="seconds to wait for the answers of 200 flows")
    asked = parser.parse_args()
    if not any(asked.address in network for network in LAB_NETWORKS):
        parser.error(f"{asked.address} is no address of a lab")
    asked.flows = max(1, min(asked.flows, 2000))
    asked.wait = max(0.05, min(asked.wait, 5.0))
    return asked


def open_flow(asked):
    family = socket.AF_INET6 if asked.address.version == 6 else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if asked.tcp else socket.SOCK_DGRAM)
    if asked.device:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, asked.device.encode())
    s.setblocking(False)
    try:
        s.connect((str(asked.address), PORT))
    except BlockingIOError:
        pass
    return s


def batch(asked, flows, answers):
    watched = selectors.DefaultSelector()
    for i in range(flows):
        try:
            s = open_flow(asked)
            if not asked.tcp:
                s.send(str(i).encode())
        except OSError:
            continue  # no route, or refused: lost
        watched.register(s, selectors.EVENT_READ)
    deadline = time.monotonic() + asked.wait
    while watched.get_map() and (left := deadline - time.monotonic()) > 0:
        for key, _ in watched.select(left):
            try:
                server = key.fileobj.recv(256).decode().split(" ")[0]
            except OSError:
                server = ""  # reset, or ICMP says unreachable: lost
            if server:
                answers[server] = answers.get(server, 0) + 1
            watched.unregister(key.fileobj)
            key.fileobj.close()
    for key in list(watched.get_map().values()):
        key.fileobj.close()


def main():
    asked, answers = arguments(), {}
    for start in range(0, asked.flows, AT_ONCE):
        batch(asked, min(AT_ONCE, asked.flows - start), answers)
    lost = asked.flows - sum(answers.values())
    json.dump({"answers": dict(sorted(answers.items())), "lost": lost, "flows": asked.flows}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
