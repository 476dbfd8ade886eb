// An SMSC on npm's `smpp`: reports every PDU on stdout, and does what it is told on stdin; an object a line.
// node smsc.cjs PACKAGE [KEY CERT]
'use strict';
const fs = require('fs');
const readline = require('readline');
const [packagePath, key, cert] = process.argv.slice(2);
const smpp = require(packagePath);

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n');
const sessions = new Map();
let opened = 0;
// Commands that are not answered by themselves: the test does, or nobody.
const mute = new Set(['submit_sm', 'bind_transceiver']);

const options = key ? { key: fs.readFileSync(key), cert: fs.readFileSync(cert) } : {};
const server = smpp.createServer(options, (session) => {
  const conn = ++opened;
  sessions.set(conn, session);
  session.on('error', () => {});
  session.on('close', () => say({ on: 'close', conn }));
  session.on('pdu', (pdu) => {
    const text = pdu.short_message || {};
    const payload = pdu.message_payload || {};
    say({
      on: pdu.command,
      conn,
      sequence: pdu.sequence_number,
      status: pdu.command_status,
      system_id: pdu.system_id,
      password: pdu.password,
      interface_version: pdu.interface_version,
      from: pdu.source_addr,
      from_ton: pdu.source_addr_ton,
      from_npi: pdu.source_addr_npi,
      to: pdu.destination_addr,
      to_ton: pdu.dest_addr_ton,
      esm_class: pdu.esm_class,
      data_coding: pdu.data_coding,
      registered_delivery: pdu.registered_delivery,
      validity: pdu.validity_period,
      text: text.message,
      udh: text.udh && text.udh.map((part) => part.toString('hex')),
      payload: payload.message,
    });
    if (!pdu.isResponse() && !mute.has(pdu.command)) {
      session.send(pdu.response());
      if (pdu.command === 'unbind') session.close();
    }
  });
});

const orders = {
  answer({ conn, command, sequence, fields }) {
    sessions.get(conn).send(new smpp.PDU(command, { ...fields, sequence_number: sequence }));
  },
  send({ conn, command, fields }) {
    sessions.get(conn).send(new smpp.PDU(command, fields));
  },
  // Bytes as they are, for what no library writes.
  raw({ conn, hex }) {
    sessions.get(conn).socket.write(Buffer.from(hex, 'hex'));
  },
  drop({ conn }) {
    sessions.get(conn).destroy();
  },
  mute({ command }) {
    mute.add(command);
  },
};

server.listen(0, '127.0.0.1', () => say({ on: 'listening', port: server.address().port }));
readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line);
    orders[order.do](order);
  })
  .on('close', () => process.exit(0));
