"""A web page that says which version of itself answered, and from which pod."""

import os
import socket

from flask import Flask, Response, jsonify, request

GREETING = "Hello, World!"
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
    # The commit that the image was built from; the Dockerfile sets it.
    VERSION=os.environ.get("VERSION", "development"),
    # The server sets it when it was told to stop; see gunicorn.conf.py.
    STOPPING=False,
)
# Compiled once: rendering from the text costs six times as much, for every browser's request.
page = app.jinja_env.from_string(PAGE)


@app.get("/")
def hello() -> Response:
    """Greet in the form that the caller's Accept header prefers: plain text, an HTML page or JSON."""
    # A pod's host name is the pod's name.
    answer = {"message": GREETING, "version": app.config["VERSION"], "host": socket.gethostname()}
    match request.accept_mimetypes.best_match(["text/plain", "text/html", "application/json"]):
        case "text/html":
            response = Response(page.render(answer))
        case "application/json":
            response = jsonify(answer)
        case _:
            response = Response("{message}\nversion {version}\nhost {host}\n".format(**answer), mimetype="text/plain")
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "no-store"
    return response


@app.get("/healthz")
def healthz() -> Response:
    """Say that the process is alive; a container that does not is restarted."""
    return Response("ok\n", mimetype="text/plain")


@app.get("/readyz")
def readyz() -> Response:
    """Say whether to send requests here: no longer once the server was told to stop."""
    if app.config["STOPPING"]:
        return Response("stopping\n", status=503, mimetype="text/plain")
    return Response("ok\n", mimetype="text/plain")
