"""Says whether mails are signed as they have to be (dkimpy), asking the DNS server of the test for the keys.

Reads one JSON object from its first line of stdin: {dns: port, mails: [base64, …]}. Prints one JSON object: {verdicts:
[{valid, domain, selector, covered}, …]}, with what the signature covers as its header says it.
"""

import base64
import json
import re
import sys

import dkim
import dns.resolver

given = json.loads(sys.stdin.readline())
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = ["127.0.0.1"]
resolver.port = given["dns"]
resolver.lifetime = 10


def txt(name, timeout=5):
    try:
        answer = resolver.resolve(name.decode() if isinstance(name, bytes) else name, "TXT")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    return b"".join(answer[0].strings)


def judge(mail):
    raw = base64.b64decode(mail)
    header = re.search(rb"^DKIM-Signature:((?:.*\r\n)(?:[ \t].*\r\n)*)", raw, re.M | re.I)
    tags = {}
    if header:
        for tag in header.group(1).decode().split(";"):
            name, _, value = tag.partition("=")
            tags[name.strip()] = "".join(value.split())
    return {
        "valid": header is not None and dkim.verify(raw, dnsfunc=txt),
        "domain": tags.get("d"),
        "selector": tags.get("s"),
        "covered": tags.get("h", "").lower().split(":"),
    }


print(json.dumps({"verdicts": [judge(mail) for mail in given["mails"]]}))
