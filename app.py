"""A web page that shows which version of the app answered, and which pod."""

import os
import socket
from functools import lru_cache

from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

# A setting: see docs/app-settings.md.
GREETING = os.environ.get("GREETING", "Hello, World!")
PAGE = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{{ message }}</title>
  <style>body { font: 1.25rem/1.5 system-ui, sans-serif; margin: 2rem; overflow-wrap: anywhere }</style>
</head>
<body>
  <main>
    <h1>{{ message }}</h1>
    <p>Version <code>{{ version }}</code>, answered by <code>{{ host }}</code>.</p>
  </main>
</body>
</html>
"""

app = Flask(__name__)
app.config.update(
    # The commit that the image was built from, set by the Dockerfile.
    VERSION=os.environ.get("VERSION", "development"),
    # The image that runs, by its digest, set by deployment.yml.
    IMAGE=os.environ.get("IMAGE", "no image"),
    # Set by the server when it is shutting down; see gunicorn.conf.py.
    STOPPING=False,
)
# Compiled once, because rendering from the source would compile it for each request.
page = app.jinja_env.from_string(PAGE)


@lru_cache(maxsize=100)
def preferred(accept: str) -> str | None:
    """Return the type that an Accept header prefers. There are few different ones, and to parse a browser's takes long."""
    return parse_accept_header(accept, MIMEAccept).best_match(["text/plain", "text/html", "application/json"])


@app.get("/")
def hello() -> Response:
    """Greet as plain text, HTML or JSON, whichever the Accept header prefers."""
    # In a pod, the host name is the pod's name.
    answer = {"message": GREETING, "version": app.config["VERSION"], "host": socket.gethostname()}
    match preferred(request.headers.get("Accept", "")):
        case "text/html":
            response = Response(page.render(answer))
        case "application/json":
            response = jsonify(answer)
        case _:
            response = Response("{message}\nversion {version}\nhost {host}\n".format(**answer), mimetype="text/plain")
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "no-store"
    return response


@app.get("/version")
def version() -> Response:
    """Report what runs. After a rollout, scripts/build/deploy.sh asks for it."""
    answer = "{VERSION} {IMAGE}\n".format(**app.config)
    return Response(answer, mimetype="text/plain", headers={"Cache-Control": "no-store"})


@app.get("/healthz")
def healthz() -> Response:
    """Report that the process is alive. Kubernetes restarts a container that does not."""
    return Response("ok\n", mimetype="text/plain")


@app.get("/readyz")
def readyz() -> Response:
    """Report whether to send requests here. Not ready once the server is shutting down."""
    if app.config["STOPPING"]:
        return Response("stopping\n", status=503, mimetype="text/plain")
    return Response("ok\n", mimetype="text/plain")
