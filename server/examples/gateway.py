"""A text gateway for Backstop in a page: takes texts, hands them on, reports what became of them.

pip install standardwebhooks; GATEWAY_SECRET=whsec_… python3 gateway.py PORT
"""
import json, os, sys, threading, urllib.request
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["GATEWAY_SECRET"])
answers, one_at_a_time = {}, threading.Lock()  # keep the answers in your database, by id


def send(text):
    """Hands a text to whoever carries it; here all but some numbers get one."""
    if text["to"].endswith("0000"):
        return {"status": "rejected", "code": "bad_number"}
    return {"status": "accepted", "provider_id": f"m-{len(answers) + 1}"}


def report(text, status):
    now, call_id = datetime.now(timezone.utc), f"{text['id']}:{status}"
    body = json.dumps({"type": "report", "reference": text["reference"], "to": text["to"], "status": status})
    headers = {"content-type": "application/json", "webhook-id": call_id, "webhook-timestamp": str(int(now.timestamp()))}
    headers["webhook-signature"] = webhook.sign(call_id, now, body)
    urllib.request.urlopen(urllib.request.Request(text["report_url"], body.encode(), headers))


class Gateway(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            text = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.send_error(401)
        if "probe" in text:
            return self.answer({})
        with one_at_a_time:  # one id is one text, however often it comes
            is_new = text["id"] not in answers
            answer = answers[text["id"]] = send(text) if is_new else answers[text["id"]]
        self.answer(answer)
        if is_new and answer["status"] == "accepted" and text["report_url"]:
            report(text, "delivered")

    def answer(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Gateway)
print("listening on", server.server_port, flush=True)
server.serve_forever()
