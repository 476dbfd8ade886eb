// Sends what it reads by Solapi's own library, to another host: one JSON object {messages, config} a line, "ok" or the
// library's refusal a line. Its arguments: the library's directory, the host, an API key and its secret.
const [library, base, key, secret] = process.argv.slice(2);
const there = globalThis.fetch;
globalThis.fetch = (url, init) => there(String(url).replace("https://api.solapi.com", base), init);
const { SolapiMessageService } = require(library);
const service = new SolapiMessageService(key, secret);
const lines = require("node:readline").createInterface({ input: process.stdin });
(async () => {
  for await (const line of lines) {
    const { messages, config } = JSON.parse(line);
    const told = await service.send(messages, config).then(
      () => "ok",
      (error) => JSON.stringify(error.message ?? String(error)),
    );
    process.stdout.write(told + "\n");
  }
})();
