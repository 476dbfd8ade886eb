curl -fsS -X PUT "$BACKSTOP/v1/alimtalk-templates/KA01TP260101000000000000000reply" -H "Authorization: Bearer $API_KEY" \
  -H "Content-Type: application/json" -d '{
  "sender_profile": "KA01PF260101000000000000000000shop",
  "content": "[#{회사}] #{고객명}님, 새 답변이 도착했습니다.\n\n#{답변}",
  "buttons": [{"name": "답변 확인하기", "url": "https://#{링크}"}],
  "variables": {"회사": {"from": "company"}, "고객명": {"from": "customer_name", "text": "고객"},
    "답변": {"from": "excerpt"}, "링크": {"from": "link_without_scheme"}}
}'
curl -fsS -X PUT "$BACKSTOP/v1/settings" -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" \
  -d '{"phone_number": true, "email": true, "country": "KR", "sns": ["alimtalk"]}'
