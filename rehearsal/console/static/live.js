// Draws the snapshots that the server sends.
"use strict";

const SILENCE = 15; // seconds without a heartbeat, after which the page warns that it may be out of date

let heard = 0;
function hear() {
  heard = Date.now();
  connection("ok", "Connected");
}

function listen() {
  const events = new EventSource("/api/events");
  events.addEventListener("snapshot", (event) => {
    hear();
    draw(JSON.parse(event.data));
  });
  events.addEventListener("heartbeat", hear);
  events.addEventListener("error", () => {
    connection("fail", "Disconnected: this page is out of date");
    // EventSource reconnects automatically, except after an answer that is not a stream.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

setInterval(() => {
  tick();
  if (heard && Date.now() - heard > SILENCE * 1000) connection("fail", "No updates: this page may be out of date");
}, 1000);

connection("wait", "Connecting");
listen();
