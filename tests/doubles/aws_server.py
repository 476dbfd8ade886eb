"""AWS by others' hands: SES through moto, signatures by botocore. Orders come as JSON, a line each, and so do answers.

The first line says where SES answers.
"""

import datetime
import json
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends


def sign(order):
    now = datetime.datetime.fromtimestamp(order["at_s"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda *_, **__: now
    credentials = Credentials(order["key"], order["secret"], order.get("token"))
    headers = {"content-type": "application/json"}
    request = AWSRequest(method=order["method"], url=order["url"], data=order["body"].encode(), headers=headers)
    botocore.auth.SigV4Auth(credentials, "ses", order["region"]).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def verify(order):
    ses_backends[DEFAULT_ACCOUNT_ID][order["region"]].verify_email_identity(order["email"])
    return {}


def sent(order):
    messages = ses_backends[DEFAULT_ACCOUNT_ID][order["region"]].sent_messages
    return [{"id": m.id, "to": m.destinations, "raw": m.raw_data} for m in messages]


ORDERS = {"sign": sign, "verify": verify, "sent": sent}

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(json.dumps({"port": server.get_host_and_port()[1]}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps(ORDERS[order["do"]](order)), flush=True)
server.stop()
