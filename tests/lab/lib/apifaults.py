"""Stands between a client and the API server, and gives the answers of a server in trouble: std-lib only.

Usage: apifaults.py ADDRESS:PORT SERVER:PORT PKI-FOLDER FAULT-FILE

The first word of FAULT-FILE is what is wrong now; without one everything is passed on, watches line by line.

  401    nobody is known: every answer is "Unauthorized"
  410    every watch is told that its version is too old; lists work
  empty  a store that has lost all: lists and watches have nothing, single objects are not found, not even for writing

At each change of it the watches that are open end as they would at a server that starts anew. Each answer that was not the
server's own is a line on standard output.
"""

import http.client
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse

# What the lists of an empty store say; a watch that goes on from there is one of that store.
NOWHERE = "1"


class Fault:
    """What is wrong now, and the connections that must end when that changes."""

    def __init__(self, path):
        self.path, self.word, self.changes = path, "", 0
        self.change, self.watches = threading.Condition(), set()

    def follow(self):
        while True:
            word = open(self.path, encoding="utf-8").read().strip()
            if word != self.word:
                with self.change:
                    self.word, self.changes = word, self.changes + 1
                    for sock in self.watches:
                        try:
                            sock.shutdown(socket.SHUT_RDWR)
                        except OSError:
                            pass
                    self.change.notify_all()
                print(f"now {word or 'well'}", flush=True)
            time.sleep(0.02)


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": reason, "reason": reason, "code": code}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def log_message(self, *_):
        pass

    def note(self, what):
        print(what, self.command, self.path, flush=True)

    def whole(self, code, body, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code, reason):
        self.note(str(code))
        self.whole(code, json.dumps(status(code, reason)).encode())

    def begin(self, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def expired(self):
        """The end of a watch whose version nobody remembers."""
        self.note("410")
        self.chunk(json.dumps({"type": "ERROR", "object": status(410, "Expired")}).encode() + b"\n")
        self.chunk(b"")

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        watch = query.get("watch", [""])[0] in ("true", "1")
        with FAULT.change:
            word, changes = FAULT.word, FAULT.changes
        if word == "401":
            self.refuse(401, "Unauthorized")
        elif watch and word == "empty" and query.get("resourceVersion") == [NOWHERE]:
            self.silence(changes, float(query.get("timeoutSeconds", ["300"])[0]))
        elif watch and (word in ("410", "empty") or query.get("resourceVersion") == [NOWHERE]):
            self.begin()
            self.expired()
        elif word == "empty" and self.command != "GET":
            self.refuse(404, "NotFound")
        else:
            self.forward(body, watch, word, changes)

    def silence(self, changes, seconds):
        """A watch of nothing."""
        self.note("empty")
        self.begin()
        with FAULT.change:
            changed = FAULT.change.wait_for(lambda: FAULT.changes != changes, seconds)
        if changed:
            self.expired()
        else:
            self.chunk(b"")

    def forward(self, body, watch, word, changes):
        server = http.client.HTTPSConnection(*SERVER, timeout=60, context=TRUST)
        left_out = ("host", "accept-encoding", "connection", "content-length", "transfer-encoding")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        try:
            server.request(self.command, self.path, body, headers)
            sock = server.sock
            answer = server.getresponse()
            kind = answer.getheader("Content-Type", "application/json")
            if watch and answer.status == 200:
                self.begin(kind)
                self.pass_on(sock, answer, changes)
                return
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.refuse(503, type(error).__name__)
            return
        finally:
            server.close()
        if word == "empty" and kind.startswith("application/json"):
            found = json.loads(text)
            if "items" in found:
                self.note("empty")
                found["items"], found["metadata"] = [], {"resourceVersion": NOWHERE}
                text = json.dumps(found).encode()
            elif "name" in found.get("metadata", {}):
                self.refuse(404, "NotFound")
                return
        self.whole(answer.status, text, kind)

    def pass_on(self, sock, answer, changes):
        """A watch, as it comes, until the server ends it or the fault changes."""
        with FAULT.change:
            FAULT.watches.add(sock)
            stale = FAULT.changes != changes
        try:
            while not stale and (data := answer.read1(65536)):
                self.chunk(data)
        except (OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            with FAULT.change:
                FAULT.watches.discard(sock)
        if FAULT.changes == changes:
            self.chunk(b"")
        elif FAULT.word in ("410", "empty"):
            self.expired()
        self.close_connection = True

    def handle_one_request(self):
        # Clients come and go; that is theirs.
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    LISTEN, SERVER, PKI, PATH = address(sys.argv[1]), address(sys.argv[2]), sys.argv[3], sys.argv[4]
    FAULT = Fault(PATH)
    TRUST = ssl.create_default_context(cafile=f"{PKI}/ca.crt")
    OWN = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    OWN.load_cert_chain(f"{PKI}/apiserver.crt", f"{PKI}/apiserver.key")
    HTTP = Server(LISTEN, Handler)
    # Each connection shakes hands in its own thread, at its first read.
    HTTP.socket = OWN.wrap_socket(HTTP.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=FAULT.follow, daemon=True).start()
    print("ready", flush=True)
    HTTP.serve_forever()
