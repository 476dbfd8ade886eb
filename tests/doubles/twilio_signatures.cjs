// Signs what it reads with Twilio's own library: one JSON object {token, url, fields} a line, one signature a line.
// Its first argument is the library's directory.
const { getExpectedTwilioSignature } = require(process.argv[2]);
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { token, url, fields } = JSON.parse(line);
  process.stdout.write(getExpectedTwilioSignature(token, url, fields) + "\n");
});
