// SNS envelopes: signed as AWS documents it, and judged by npm's `sns-validator`. A JSON object a line in, one out:
// {"do": "sign", "envelope", "key"} gives the signature, {"do": "judge", "envelope", "certificate"} true or false.
'use strict';
const crypto = require('crypto');
const https = require('https');
const { EventEmitter } = require('events');
const readline = require('readline');
const MessageValidator = require(process.argv[2]);

// The certificate comes from the test instead of from AWS.
let certificate = '';
https.get = (url, taken) => {
  const response = new EventEmitter();
  response.statusCode = 200;
  taken(response);
  response.emit('data', certificate);
  response.emit('end');
  return new EventEmitter();
};

const names = (type) => (type === 'Notification'
  ? ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type']
  : ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type']);

const orders = {
  async sign({ envelope, key }) {
    const signer = crypto.createSign(envelope.SignatureVersion === '1' ? 'RSA-SHA1' : 'RSA-SHA256');
    for (const name of names(envelope.Type)) {
      if (name in envelope) signer.update(`${name}\n${envelope[name]}\n`, 'utf8');
    }
    return signer.sign(key, 'base64');
  },
  async judge(asked) {
    certificate = asked.certificate;
    // A validator for each: it would remember the first one's certificate.
    const url = `${asked.envelope.SigningCertURL.slice(0, -4)}${crypto.randomUUID()}.pem`;
    const envelope = { ...asked.envelope, SigningCertURL: url };
    return new Promise((done) => new MessageValidator().validate(envelope, (error) => done(!error)));
  },
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    process.stdout.write(`${JSON.stringify(await orders[order.do](order))}\n`);
  }
})();
