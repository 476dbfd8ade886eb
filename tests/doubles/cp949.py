"""Encodes texts by the platform's codec: a JSON string a line in, the bytes in hexadecimal out, or `-` if it has none."""

import json
import sys

for line in sys.stdin:
    try:
        print(json.loads(line).encode("cp949").hex())
    except UnicodeEncodeError:
        print("-")
