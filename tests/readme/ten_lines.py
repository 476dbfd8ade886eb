import json, os, urllib.request

def api(path, body=None, method=None):
    headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    url = os.environ.get("BACKSTOP", "http://127.0.0.1:8080") + path
    return json.load(urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)))

key = "sk_sandbox"
key = api("/sandbox/workspaces", {})["api_key"]  # a company of our own, so that tests can run side by side
api("/sandbox/clock/advance", {"ms": 0})
api("/v1/customers/ann", {"name": "Ann", "phone": "+14155550123", "email": "ann@example.com"}, "PUT")
api("/sandbox/phones", {"customer_id": "ann", "behaviour": "silent"})
reply = {"message_id": "a1", "conversation_id": "c1", "customer_id": "ann", "kind": "reply"}
followup = api("/v1/messages", reply | {"author": {"name": "Kim"}, "text": "It arrives today."})["followup_id"]
api("/sandbox/clock/advance", {"ms": 29999})
assert api("/sandbox/outbox?channel=sms")["data"] == []
api("/sandbox/clock/advance", {"ms": 1})
assert "It arrives today." in api("/sandbox/outbox?channel=sms")["data"][0]["payload"]["text"]
assert api("/v1/followups/" + followup)["reason"] == "no_ack"
