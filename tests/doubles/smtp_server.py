"""A mail server that others wrote (aiosmtpd), told by its recipients how to behave; says on stdout what it saw.

Reads one JSON object from its first line of stdin: {tls: "none" | "starttls" | "implicit", certificate, key, username,
password, smtputf8, refuses_at}. Prints {"event": "listening", "port": …}, then one JSON object per event. Ends with its
stdin.

What comes before the "@" of the recipient decides: unknown (550 at RCPT), full (452 at RCPT), busy (451 after the
mail), spam (554 after the mail), lost-early (connection lost at RCPT), lost-late (lost after the mail), silent (no
answer after the mail), last (taken, then the connection is closed), tired (421 at the next mail of the session).
Anything else is taken, unless refuses_at ("mail", "rcpt", "data", "content") says where everything is refused, with a
bare 550.
"""

import asyncio
import base64
import email
import email.policy
import json
import logging
import re
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


# A mail server without a log: its complaints about what the tests do to it are not news.
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


def say(event, **details):
    line = json.dumps({"event": event, **details}, ensure_ascii=False)
    # Bytes beyond ASCII in a header come as surrogates: out again as the bytes that they were.
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def parts(message):
    for part in message.walk():
        if not part.is_multipart():
            yield {
                "type": part.get_content_type(),
                "charset": part.get_content_charset(),
                "encoding": part["Content-Transfer-Encoding"],
                "text": part.get_content(),
                "defects": [str(defect) for defect in part.defects],
            }


def describe(session, envelope):
    raw = envelope.original_content
    message = email.message_from_bytes(raw, policy=email.policy.default)
    return {
        "tls": session.ssl is not None,
        "login": bool(session.authenticated),
        "hello": session.host_name,
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "options": envelope.mail_options,
        "headers": [[name, str(value)] for name, value in message.items()],
        "address_names": [[a.display_name, a.addr_spec] for h in ("From", "To") for a in message[h].addresses],
        "defects": [str(d) for d in message.defects] + [str(d) for v in message.values() for d in v.defects],
        "type": message.get_content_type(),
        "parts": list(parts(message)),
        "raw": base64.b64encode(raw).decode(),
        "ascii": all(byte < 128 for byte in raw),
        "bare_line_breaks": len(re.findall(rb"\r(?!\n)|(?<!\r)\n", raw)),
        "longest_line": max(len(line) for line in raw.split(b"\r\n")),
    }


REFUSAL = "550 not from you"


class Handler:
    def __init__(self, refuses_at):
        self.refuses_at = refuses_at

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.refuses_at == "mail":
            return REFUSAL
        if getattr(session, "tired", False):
            return "421 4.7.0 enough for today"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        behaviour = address.split("@")[0]
        if self.refuses_at == "rcpt":
            return REFUSAL
        if behaviour == "unknown":
            return f"550 5.1.1 <{address}>: no such user here"
        if behaviour == "full":
            return f"452 4.2.2 <{address}>: mailbox full"
        if behaviour == "lost-early":
            server.transport.abort()
            await asyncio.sleep(3600)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        behaviour = envelope.rcpt_tos[0].split("@")[0]
        say("mail", **describe(session, envelope))
        if self.refuses_at == "content":
            return REFUSAL
        if behaviour == "busy":
            return "451 try again later"
        if behaviour == "spam":
            return "554-5.7.1 this looks like\r\n554 5.7.1 spam"
        if behaviour == "lost-late":
            server.transport.abort()
            await asyncio.sleep(3600)
        if behaviour == "silent":
            await asyncio.sleep(3600)
        if behaviour == "last":
            asyncio.get_running_loop().call_soon(server.transport.close)
        session.tired = behaviour == "tired"
        return "250 2.0.0 OK: queued as 4F2A"


class Server(SMTP):
    async def smtp_DATA(self, argument):
        if self.event_handler.refuses_at == "data":
            await self.push(REFUSAL)
            return
        await super().smtp_DATA(argument)

    def connection_made(self, transport):
        if self.session is None or self.session.ssl is None:
            say("connected")
        super().connection_made(transport)

    def connection_lost(self, error):
        say("disconnected")
        super().connection_lost(error)


async def main():
    config = json.loads(sys.stdin.readline())
    tls = None
    if config["tls"] != "none":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(config["certificate"], config["key"])

    def authenticate(server, session, envelope, mechanism, data):
        right = (data.login, data.password) == (config["username"].encode(), config["password"].encode())
        say("login", mechanism=mechanism, right=right)
        return AuthResult(success=right, handled=False)

    options = {"enable_SMTPUTF8": config.get("smtputf8", False), "hostname": "mx.example"}
    if config.get("username"):
        options.update(
            auth_required=True, auth_require_tls=config["tls"] == "starttls", authenticator=authenticate
        )
    if config["tls"] == "starttls":
        options.update(tls_context=tls, require_starttls=True)
    loop = asyncio.get_running_loop()
    implicit = tls if config["tls"] == "implicit" else None
    server = await loop.create_server(
        lambda: Server(Handler(config.get("refuses_at")), loop=loop, **options), "127.0.0.1", 0, ssl=implicit
    )
    say("listening", port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
