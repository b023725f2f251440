"""A page of another origin, in a real browser, that tries to get into the listeners of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from selenium.webdriver import Chrome

from rehearsal.console.screenshot import browser

#: Resolves to loopback in the browser, as an attacker's name does after DNS rebinding.
NAME = "evil.example"

#: Tries every kind of request to each address; reports how many were sent, and each whose answer the page could read.
ATTACK = """
const [addresses, form, done] = arguments;
const read = []; let sent = 0;
const body = new URLSearchParams(form);
const json = {"content-type": "application/json", "x-amz-target": "CloudFormation.CreateStack", "authorization": "x"};
const requests = {
  "GET": {}, "GET no-cors": {mode: "no-cors"}, "GET with cookies": {mode: "no-cors", credentials: "include"},
  "form": {mode: "no-cors", method: "POST", body}, "form cors": {method: "POST", body},
  "text": {mode: "no-cors", method: "POST", body: "x", headers: {"content-type": "text/plain"}},
  "json": {method: "POST", body: "{}", headers: json}, "PUT": {method: "PUT", body: "{}"}, "DELETE": {method: "DELETE"},
};
async function ask(name, address, options) {
  sent++;
  try {
    const answer = await fetch(address, {...options, signal: AbortSignal.timeout(5000)});
    if (answer.type !== "opaque") read.push(`${name} ${address}: ${answer.status}`);
  } catch {}
}
function element(tag, address) {
  return new Promise(resolve => {
    sent++;
    const made = document.createElement(tag);
    made.onload = () => { if (tag !== "iframe") read.push(`${tag} ${address}`); resolve(); };
    made.onerror = resolve;
    made.src = address;
    document.body.append(made);
    setTimeout(resolve, 5000);
  });
}
function stream(kind, address) {
  return new Promise(resolve => {
    sent++;
    const made = new kind(address);
    made.onopen = () => { read.push(`${kind.name} ${address}`); resolve(); };
    made.onerror = () => { made.close(); resolve(); };
    setTimeout(resolve, 5000);
  });
}
function submit(address) {
  sent++;
  const made = document.createElement("form");
  Object.assign(made, {action: address, method: "POST", target: "hidden"});
  for (const [name, value] of body) {
    const field = document.createElement("input");
    Object.assign(field, {name, value});
    made.append(field);
  }
  document.body.append(made);
  made.submit();
}
(async () => {
  document.body.innerHTML = '<iframe name="hidden"></iframe>';
  for (const address of addresses) {
    submit(address);
    await Promise.all([
      ...Object.entries(requests).map(([name, options]) => ask(name, address, options)),
      ...["img", "script", "iframe"].map(tag => element(tag, address)),
      stream(EventSource, address), stream(WebSocket, address.replace("http", "ws")),
    ]);
  }
  done({sent, read});
})();
"""

#: Asks the server that the page is said to be from, as after DNS rebinding; reports the statuses.
SAME_ORIGIN = """
const done = arguments[0];
Promise.all(["GET", "POST", "PUT", "OPTIONS"].map(
  method => fetch("/", {method, signal: AbortSignal.timeout(5000)}).then(answer => answer.status, () => 0)
)).then(done);
"""


@dataclass
class Page:
    """A browser with the hostile page; ``origins`` are the addresses that the page is loaded from."""

    driver: Chrome
    origins: tuple[str, ...]
    sent: int = 0
    read: list[str] = field(default_factory=list)

    def attack(self, addresses: Sequence[str], form: dict[str, str]) -> None:
        """Try to get into ``addresses`` from each origin; ``form`` is what is sent as a form."""
        self.driver.set_script_timeout(300)
        for origin in self.origins:
            self.driver.get(origin)
            found: dict[str, Any] = self.driver.execute_async_script(ATTACK, list(addresses), form)  # type: ignore[no-untyped-call]
            self.sent += found["sent"]
            self.read += [f"{origin}: {each}" for each in found["read"]]

    def rebind(self, port: int) -> list[int]:
        """Return the statuses that a page of NAME gets from a port, once that name resolves to this machine."""
        self.driver.get(f"http://{NAME}:{port}/")
        return list(self.driver.execute_async_script(SAME_ORIGIN))  # type: ignore[no-untyped-call]


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>page</title><body>")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def hostile_page() -> Iterator[Page]:
    """Serve the page on loopback, under an address and under NAME, and open a browser."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server,
        browser(arguments=[f"--host-resolver-rules=MAP {NAME} 127.0.0.1", "--ignore-certificate-errors"]) as driver,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        yield Page(driver, (f"http://127.0.0.1:{port}/", f"http://{NAME}:{port}/"))
        server.shutdown()
