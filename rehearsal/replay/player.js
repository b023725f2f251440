// Plays a recording: makes its snapshots, of which console.js draws the one of the moment.
"use strict";

const recording = JSON.parse($("recording").textContent);
const SKIP = 5; // seconds, by an arrow key
const TICK = 100; // milliseconds

// Applies a change as changes.py describes it; what did not change is shared.
function changed(old, change) {
  if (Array.isArray(change)) return change.length === 1 ? change[0] : [...old.slice(change[0]), ...change[1]];
  const now = Array.isArray(old) ? [...old] : { ...old };
  for (const [key, each] of Object.entries(change)) now[key] = changed(old[key], each);
  return now;
}

const snapshots = [];
for (const [, change] of recording.frames) snapshots.push(changed(snapshots.at(-1), change));

let position = 0; // seconds since the recording began
let playing = false;
let shown;
page.now = () => recording.began + position;
page.links = false;

const lastBegun = (times) => Math.max(0, times.findLastIndex((at) => at <= position));
const frameTimes = recording.frames.map(([at]) => at);
const stepTimes = recording.steps.map(({ began }) => began);
const frame = () => lastBegun(frameTimes);
const step = () => lastBegun(stepTimes);
const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text; // screen readers read a change aloud
}

function show() {
  if (frame() !== shown) draw(snapshots[frame()]);
  shown = frame();
  tick();
  const current = recording.steps[step()];
  const time = `${minutes(position)} of ${minutes(recording.seconds)}`;
  setText("time", time);
  $("seek").value = position;
  $("seek").setAttribute("aria-valuetext", `${time}, step ${step() + 1}: ${current.title}`);
  setText("command", current.command);
  setText("says", current.says);
  setText("result", position >= current.ended ? current.result : "");
  for (const [index, item] of [...$("steps").children].entries()) {
    item.firstChild.className = position >= recording.steps[index].ended ? "done" : "";
    if (index === step()) item.firstChild.setAttribute("aria-current", "step");
    else item.firstChild.removeAttribute("aria-current");
  }
}

function seek(to) {
  position = Math.min(Math.max(to, 0), recording.seconds);
  forget();
  show();
}

function play(wanted) {
  playing = wanted;
  if (playing && position >= recording.seconds) seek(0);
  $("play").replaceChildren(icon(playing ? "pause-icon" : "play-icon"), playing ? "Pause" : "Play");
}

let last = Date.now();
setInterval(() => {
  const passed = (Date.now() - last) / 1000;
  last = Date.now();
  if (!playing) return;
  position = Math.min(position + passed * Number.parseInt($("speed").value, 10), recording.seconds);
  show();
  if (position === recording.seconds) play(false);
}, TICK);

// Within a step, its beginning is the previous one.
function back() {
  const began = recording.steps[step()].began;
  seek(position > began + 1 ? began : recording.steps[Math.max(0, step() - 1)].began);
}

function next() {
  seek(step() + 1 < recording.steps.length ? recording.steps[step() + 1].began : recording.seconds);
}

// The space bar and the arrow keys work as in players of videos, unless the focus is on something that uses them.
document.addEventListener("keydown", (event) => {
  if (![document.body, $("seek")].includes(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === " ") play(!playing);
  else if (event.key === "ArrowLeft") seek(position - SKIP);
  else if (event.key === "ArrowRight") seek(position + SKIP);
  else return;
  event.preventDefault();
});

$("play").addEventListener("click", () => play(!playing));
$("back").addEventListener("click", back);
$("next").addEventListener("click", next);
$("seek").addEventListener("input", () => seek(Number($("seek").value)));
$("seek").max = recording.seconds;
$("back").append(icon("back-icon"));
$("next").append(icon("next-icon"));
$("steps").append(...recording.steps.map((one, index) => {
  const button = el("button", { type: "button" }, `${index + 1} ${one.title}`);
  button.addEventListener("click", () => seek(one.began));
  return el("li", {}, button);
}));
// In the order of their first answers, so that a version has the same colour wherever a viewer begins.
for (const { app } of snapshots) for (const { version } of app.answers) colour(version);
const date = new Date(recording.began * 1000).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
connection("none", `Recorded on ${date}`);
play(false);
seek(0);
