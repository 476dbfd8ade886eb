"""A server behind TLS that confirms every ack: what an extension talks to while it is measured.

server.py CERTIFICATE KEY: prints its port; counts acks on /count; ends with its input.
"""

import http.server
import json
import ssl
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's `POST /v1/acks` does."""

    protocol_version = "HTTP/1.1"
    # Head and body leave as two segments; the second would wait 40 ms for the first to be confirmed.
    disable_nagle_algorithm = True
    acks = 0

    def do_POST(self) -> None:
        """Confirms each ack."""
        batch = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Handler.acks += len(batch["acks"])
        self.reply({"results": [{"result": "accepted", "counted": True} for _ in batch["acks"]]})

    def do_GET(self) -> None:
        """How many there were."""
        self.reply({"acks": Handler.acks})

    def reply(self, body: dict) -> None:
        """Sends JSON."""
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main() -> None:
    """Serves until the input ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    print(Handler.acks, flush=True)


main()
