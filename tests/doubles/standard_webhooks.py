"""Verifies what it reads with the library of Standard Webhooks: one JSON object {secret, headers, body} a line; answers
the signature that the library makes of it, or why it refuses."""
import json
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    asked = json.loads(line)
    webhook, headers = Webhook(asked["secret"]), asked["headers"]
    try:
        webhook.verify(asked["body"], headers, json_parse=False)
        at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), tz=timezone.utc)
        print(webhook.sign(headers["webhook-id"], at, asked["body"]), flush=True)
    except WebhookVerificationError as error:
        print(f"refused: {error}", flush=True)
