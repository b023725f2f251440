"""What a request of the app and its import cost a processor, next to Flask alone: ``python -m benchmarks.request``.

No server and no network take part. Flask's own work, such as routing and its contexts, is the least for an app that uses
Flask. It needs no rehearsal.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response
from werkzeug.test import EnvironBuilder

from app import app

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
bare = Flask("bare")
bare.add_url_rule("/", view_func=lambda: Response("ok\n", mimetype="text/plain"))
#: For each row the application, the path and the Accept header. The first row is what the others are compared with.
REQUESTS: dict[str, tuple[Wsgi, str, str]] = {
    "Flask with one route": (bare, "/", ""),
    "/healthz, as Kubernetes asks": (app, "/healthz", "*/*"),
    "/, as curl asks": (app, "/", "*/*"),
    "/, as a browser asks": (app, "/", BROWSER),
    "/, as JSON": (app, "/", "application/json"),
}
IMPORTS = {"Flask": "import flask", "app.py": "import app", "nothing": "pass"}


def microseconds(asked: Wsgi, path: str, accept: str, times: int = 300) -> float:
    """Return a request's processor time in microseconds."""
    environ = EnvironBuilder(path=path, headers=[("Accept", accept)] if accept else None).get_environ()
    before = time.process_time()
    for _ in range(times):
        b"".join(asked(environ.copy(), lambda *_: None))
    return (time.process_time() - before) / times * 1e6


def milliseconds(code: str) -> float:
    """Return the processor time in milliseconds of a new Python that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def main(rounds: int = 15) -> None:
    """Print a table. Of each figure the least of some rounds counts, because other programs only add to it."""
    spent = {name: min(microseconds(*each) for _ in range(rounds)) for name, each in REQUESTS.items()}
    least = next(iter(spent.values()))
    print("| request | µs of a processor | to Flask with one route |\n|---|---|---|")
    for name, each in spent.items():
        print(f"| {name} | {each:.0f} | {each / least:.2f} |")
    print("\n| import in a new Python | ms of a processor |\n|---|---|")
    for name, code in IMPORTS.items():
        print(f"| {name} | {min(milliseconds(code) for _ in range(rounds)):.0f} |")


if __name__ == "__main__":
    main()
