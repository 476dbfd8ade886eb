// LINE's own SDK: sends what it reads, one JSON object a line, and says of each call whether its signature is right.
// Its first argument is the library's directory, its second the address that stands for LINE's.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
const { messagingApi, validateSignature } = createRequire(import.meta.url)(process.argv[2]);
const client = new messagingApi.MessagingApiClient({ channelAccessToken: "line-token", baseURL: process.argv[3] });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.push) await client.pushMessage(asked.push, asked.key);
  if (asked.notify) await client.pushMessagesByPhone(asked.notify, asked.tag);
  const right = asked.signature ? validateSignature(asked.body, asked.secret, asked.signature) : null;
  console.log(JSON.stringify({ right }));
}
