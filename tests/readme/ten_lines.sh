url=${BACKSTOP:-http://127.0.0.1:8080}
api() { curl -fsS -H "Authorization: Bearer sk_sandbox" -H "Content-Type: application/json" "$url$1" "${@:2}"; }
reply='{"message_id": "a1", "conversation_id": "c1", "customer_id": "ann", "kind": "reply", "author": {"name": "Kim"},
        "text": "It arrives today."}'

api /sandbox/clock/advance -d '{"ms": 0}' # from here on, only we turn the clock
api /v1/customers/ann -X PUT -d '{"name": "Ann", "phone": "+14155550123", "email": "ann@example.com"}'
api /sandbox/phones -d '{"customer_id": "ann", "behaviour": "silent"}'
api /v1/messages -d "$reply"
api /sandbox/clock/advance -d '{"ms": 29999}'
api '/sandbox/outbox?channel=sms' | grep '"data":\[\]'
api /sandbox/clock/advance -d '{"ms": 1}'
api '/sandbox/outbox?channel=sms' | grep 'It arrives today.'
api '/v1/followups?customer_id=ann' | grep '"reason":"no_ack"'
