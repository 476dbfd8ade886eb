"""Makes sources of the README's quick start and of its test, so that both are compiled and run."""

import pathlib
import re
import sys

IMPORTS = """
import android.app.Activity
import android.app.Application
import dev.backstop.*
import dev.backstop.testing.*
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
"""


def main(readme: str, out: str) -> None:
    text = pathlib.Path(readme).read_text(encoding="utf-8")
    start = block(text, "Quick start")
    if len(start.splitlines()) > 10:
        sys.exit(f"the quick start of {readme} has {len(start.splitlines())} lines, 10 may be")
    # The sandbox stands in for the company's server.
    for theirs, ours in [
        ('"https://push.example.com"', 'System.getenv("BACKSTOP_SANDBOX_URL")'),
        ('"app_key_of_your_workspace"', '"app_sandbox"'),
    ]:
        if theirs not in start:
            sys.exit(f"{theirs} is not in the quick start of {readme} any more")
        start = start.replace(theirs, ours)
    app, calls = re.split(r"^// .*$", start, maxsplit=1, flags=re.MULTILINE)
    body = "".join(f"    {line}\n" for line in calls.strip().splitlines())
    arguments = "customerId: String, hashFromYourBackend: String, open: (String) -> Unit"
    signature = f"suspend fun Activity.quickStart({arguments})"
    write(out, "QuickStart", f"{app}\n{signature} {{\n{body}}}\n")
    write(out, "ReadmeCases", f"class ReadmeCases {{\n{block(text, 'Testing')}}}\n")


def block(text: str, heading: str) -> str:
    found = re.search(rf"^## {heading}$.*?^```kotlin\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    if not found:
        sys.exit(f"no Kotlin below the heading {heading}")
    return found.group(1)


def write(out: str, name: str, text: str) -> None:
    source = f"// From android/README.md.\npackage dev.backstop.cases\n{IMPORTS}\n{text}"
    path = pathlib.Path(out, f"{name}.kt")
    # Left alone if nothing changed: less to compile.
    if not path.exists() or path.read_text(encoding="utf-8") != source:
        path.write_text(source, encoding="utf-8")


main(*sys.argv[1:])
