// Verifies what it reads with the library of Standard Webhooks: one JSON object {secret, headers, body} a line; answers
// the signature that the library makes of it, or why it refuses. Its first argument is the library's directory.
const { Webhook } = require(process.argv[2]);
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { secret, headers, body } = JSON.parse(line);
  const webhook = new Webhook(secret);
  try {
    webhook.verify(body, headers, { jsonParse: false });
    const at = new Date(Number(headers["webhook-timestamp"]) * 1000);
    process.stdout.write(webhook.sign(headers["webhook-id"], at, body) + "\n");
  } catch (error) {
    process.stdout.write(`refused: ${error.message}\n`);
  }
});
