"""A small client of the Kubernetes API over one kept-alive connection: enough for the lab, std-lib only.

As a program:  kubeapi.py KUBECONFIG ready SECONDS   wait for /readyz, exit 1 when it does not come
"""

import base64
import http.client
import json
import os
import re
import ssl
import sys
import tempfile
import time
import urllib.parse


class Unavailable(Exception):
    """The API server cannot be reached, or says 5xx: try again later."""


class Refused(Exception):
    """The API server answered 4xx."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Takes the kubeconfigs that the lab writes: one cluster, one user, certificates embedded."""

    def __init__(self, kubeconfig, timeout=3.0):
        text = open(kubeconfig, encoding="utf-8").read()

        def field(name):
            found = re.search(rf'\b{name}: "?([^",}}\s]+)', text)
            return found.group(1) if found else None

        url = urllib.parse.urlsplit(field("server"))
        self.host, self.port, self.timeout, self.connection = url.hostname, url.port, timeout, None
        self.tls = ssl.create_default_context(
            cadata=base64.b64decode(field("certificate-authority-data")).decode())
        self.headers = {"Accept": "application/json"}
        if token := field("token"):
            self.headers["Authorization"] = f"Bearer {token}"
        else:
            # The ssl module loads client certificates from files only.
            with tempfile.NamedTemporaryFile() as pem:
                for name in ("client-certificate-data", "client-key-data"):
                    pem.write(base64.b64decode(field(name)))
                pem.flush()
                self.tls.load_cert_chain(pem.name)

    def call(self, method, path, body=None, content_type="application/json"):
        """The decoded answer. A dead kept-alive connection is reopened once for a GET, never silently for a write."""
        headers = dict(self.headers)
        if body is not None:
            headers["Content-Type"] = content_type
            body = json.dumps(body)
        for attempt in (1, 2):
            fresh = self.connection is None
            try:
                if fresh:
                    self.connection = http.client.HTTPSConnection(
                        self.host, self.port, timeout=self.timeout, context=self.tls)
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                self.connection = None
                if fresh or method != "GET" or attempt == 2:
                    raise Unavailable(f"{type(error).__name__}: {error}") from error
        if answer.status >= 500 or answer.status == 429:
            raise Unavailable(f"HTTP {answer.status}")
        if answer.status >= 400:
            raise Refused(answer.status, text.decode(errors="replace")[:300])
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def items(self, path):
        return self.call("GET", path).get("items") or []


def wait_ready(kubeconfig, seconds):
    api = Api(kubeconfig, timeout=2.0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if api.call("GET", "/readyz") == "ok":
                return True
        except (Unavailable, Refused):
            pass
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] != "ready" or not os.path.exists(sys.argv[1]):
        sys.exit(__doc__)
    sys.exit(0 if wait_ready(sys.argv[1], float(sys.argv[3])) else 1)
