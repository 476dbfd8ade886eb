jq -n --rawfile key AuthKey_K1L2M3N4P5.p8 --slurpfile account shop-firebase-adminsdk.json '{
  bundle_ids: ["com.example.shop"], packages: ["com.example.shop"],
  apns: [{team_id: "A1B2C3D4E5", key_id: "K1L2M3N4P5", $key, environment: "production"}],
  fcm: {service_account: $account[0]}
}' | curl -fsS -X PUT "$BACKSTOP/v1/apps/shop" -H "Authorization: Bearer $API_KEY" \
  -H "Content-Type: application/json" -d @-
