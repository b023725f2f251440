// Draws a snapshot, whether live.js got it from the server or player.js from a recording. All text is inserted as text,
// never as markup, because logs and commits are untrusted.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const STATUS = {
  succeeded: ["ok", "Succeeded"], inprogress: ["run", "In progress"], failed: ["fail", "Failed"],
  fault: ["fail", "Fault"], timedout: ["fail", "Timed out"], clienterror: ["fail", "Failed"],
  stopped: ["none", "Stopped"], stopping: ["wait", "Stopping"], superseded: ["none", "Superseded"],
  cancelled: ["none", "Cancelled"], abandoned: ["none", "Abandoned"], "": ["none", "Not run yet"],
};

// What a recording has of its own: its time, in seconds since the epoch, and addresses that no longer answer.
const page = { now: () => Date.now() / 1000, links: true };

const $ = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== "") element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== ""));
  return element;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

const pill = (kind, ...words) => el("span", { class: `pill ${kind}` }, icon(kind), ...words);
const meaning = (status) => STATUS[status.toLowerCase().replaceAll("_", "")] ?? ["none", status];
const statusPill = (status, ...more) => pill(meaning(status)[0], meaning(status)[1], ...more);
const dot = (version) => el("span", { class: `dot ${colour(version)}`, "aria-hidden": "true" });
const short = (revision) => (/^[0-9a-f]{40}$/.test(revision) ? revision.slice(0, 7) : revision);
const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
const mono = (text, title) => el("code", { title }, text);

function duration(seconds) {
  if (seconds < 10 && seconds % 1) return `${seconds.toFixed(1)} s`;
  const whole = Math.max(0, Math.round(seconds));
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

// A duration that keeps counting until its end is known.
function elapsed(started, ended) {
  if (!started) return "";
  return ended ? duration(ended - started) : el("span", { "data-since": started }, duration(page.now() - started));
}

// Each version keeps its colour while the page is open.
const colours = new Map();
function colour(version) {
  if (!version) return "";
  if (!colours.has(version)) colours.set(version, `v${colours.size % 6}`);
  return colours.get(version);
}

// Draws a part only if it changed, to keep the selection, the focus and the position of screen readers.
const drawn = {};
function part(name, state, draw) {
  const now = JSON.stringify(state);
  if (drawn[name] === now) return;
  drawn[name] = now;
  const note = $(name).querySelector(".note");
  note.hidden = !state.note;
  note.textContent = state.note;
  for (const sibling of $(name).children) {
    if (sibling !== note && !sibling.matches("h2, .title, .error")) sibling.hidden = Boolean(state.note);
  }
  draw(state);
}

function drawAction(action) {
  const revision = action.revision && mono(short(action.revision), action.revision);
  const link = action.url && revision && page.links ? el("a", { href: action.url, rel: "noreferrer", target: "_blank" }, revision) : revision;
  const running = action.status === "InProgress";
  return el("div", { class: "action" },
    el("p", {}, action.approval ? "Waiting for approval" : action.summary || action.name),
    action.error ? el("p", { class: "error", title: action.error }, action.error) : "",
    el("p", {}, link, link && action.since ? " · " : "",
      action.since ? (running ? "for " : "at ") : "", action.since ? (running ? elapsed(action.since) : clock(action.since)) : ""));
}

function drawPipeline(pipeline) {
  $("stages").replaceChildren(...pipeline.stages.map((stage) => {
    const approval = stage.actions.some((action) => action.approval);
    const kind = approval ? "wait" : meaning(stage.status)[0];
    return el("li", { class: `${kind} ${stage.open ? "" : "closed"}` },
      el("div", { class: "title" }, el("h3", {}, stage.name), approval ? pill("wait", "Waiting") : statusPill(stage.status)),
      stage.open ? "" : el("p", { class: "error" }, "Transition disabled"),
      stage.queued ? el("p", {}, `${stage.queued} execution${stage.queued === 1 ? "" : "s"} waiting to enter`) : "",
      ...stage.actions.map((action) => drawAction(action)));
  }));
}

function drawHistory(history) {
  $("executions").replaceChildren(...history.executions.slice(0, 5).map((one) => el("tr", {},
    el("td", { title: one.message }, mono(one.revision ? short(one.revision) : one.id.slice(0, 7)), " ", one.message || one.trigger),
    el("td", {}, statusPill(one.status)),
    el("td", {}, elapsed(one.started, one.ended)))));
}

function drawLog(lines) {
  const log = $("log");
  const old = [...log.children].map((line) => line.textContent);
  let gone = 0; // lines removed at the top; the others are kept, so that a selection in them survives
  while (gone < old.length && !old.slice(gone).every((line, index) => line === lines[index])) gone += 1;
  for (let index = 0; index < gone; index += 1) log.firstChild.remove();
  log.append(...lines.slice(old.length - gone).map((line) => el("p", { class: lineKind(line) }, line)));
  scrollToEnd();
}

function lineKind(line) {
  if (/\b(FAILED|ERROR|Error:|error:|Traceback)\b|State: FAILED|^E {3}/.test(line)) return "bad";
  return /^\[Container\]|^==> |^#\d+ \[/.test(line) ? "phase" : "";
}

function drawBuild(build) {
  $("build-status").replaceChildren(...(build.note ? [] : [statusPill(build.status), " ", elapsed(build.started, build.ended)]));
  $("phases").replaceChildren(...build.phases.map((phase) => el("li", {},
    pill(meaning(phase.status)[0], phase.name.toLowerCase().replaceAll("_", " "), " ", phase.seconds === null ? "" : duration(phase.seconds)))));
  $("follow").parentElement.hidden = !build.lines.length;
  $("build-error").hidden = !build.error;
  $("build-error").textContent = build.error;
  drawLog(build.lines);
}

function drawApp(app) {
  const last = app.answers.at(-1);
  $("app-link").hidden = !app.url;
  $("app-link").textContent = app.url;
  if (app.url && page.links) $("app-link").href = app.url;
  else $("app-link").removeAttribute("href");
  $("answer").hidden = !last;
  if (!last) return;
  const good = last.status >= 200 && last.status < 400;
  const text = good ? short(last.version) || `HTTP ${last.status} without a version` : last.error || `HTTP ${last.status}`;
  $("version").className = good ? "" : "down";
  $("version").title = last.version;
  $("version").replaceChildren(good && last.version ? dot(last.version) : "", text);
  $("from").textContent = good ? `from ${last.pod || "a pod"} in ${last.milliseconds} ms` : `at ${clock(last.at)}`;
  drawStrip(app.answers);
  $("changes").replaceChildren(...app.changes.slice(-3).reverse().map((change) => el("li", {},
    `${clock(change.at)} `, change.before ? mono(short(change.before)) : "no answer", " → ", mono(short(change.version)),
    change.seconds === null ? "" : ", ", change.seconds === null ? "" : el("strong", {}, `live ${duration(change.seconds)} after the push`))));
}

function drawStrip(answers) {
  const counts = new Map();
  const cells = answers.map((answer) => {
    const good = answer.status >= 200 && answer.status < 400;
    const label = good ? short(answer.version) || "no version" : "failed";
    const kind = good ? colour(answer.version) : "down";
    counts.set(label, { number: (counts.get(label)?.number ?? 0) + 1, kind });
    return el("i", { class: kind, title: `${clock(answer.at)} ${label}` });
  });
  while (cells.length < 60) cells.unshift(el("i", { class: "empty" }));
  $("strip").replaceChildren(...cells);
  const words = [...counts].map(([label, { number }]) => `${number} ${label}`);
  $("strip").setAttribute("aria-label", `The last ${answers.length} answers: ${words.join(", ")}`);
  $("legend").replaceChildren(...[...counts].map(([label, { number, kind }]) =>
    el("li", {}, el("span", { class: `dot ${kind}`, "aria-hidden": "true" }), mono(label), ` ${number}`)));
}

function drawPod(pod) {
  const kind = pod.ready ? "ok" : /^(Pending|ContainerCreating|Running|Terminating)$/.test(pod.status) ? "wait" : "fail";
  const image = pod.image.split(/[@:]/).at(-1).slice(0, 7);
  return el("div", { class: `pod ${pod.status === "Terminating" ? "leaving" : ""}` },
    dot(pod.version),
    mono(pod.name.split("-").slice(-2).join("-"), pod.name),
    el("small", {}, pod.staging ? "staging " : "", pod.version ? mono(short(pod.version)) : `image ${image}`, pod.restarts ? ` ↻ ${pod.restarts}` : ""),
    pill(kind, pod.ready ? "Ready" : pod.status === "Running" ? "Not ready" : pod.status));
}

function drawCluster(cluster) {
  const version = cluster.version && `Kubernetes ${cluster.version.replace(/^v/, "")}`;
  $("rollout").textContent = [cluster.rollout, version].filter(Boolean).join(" · ");
  const boxes = cluster.nodes.map((node) => el("div", {},
    el("h3", {}, node.name, node.schedulable ? pill(node.ready ? "ok" : "fail", node.ready ? "Ready" : "Not ready") : pill("wait", "Cordoned")),
    el("small", {}, `${node.address} · ${node.others} system pod${node.others === 1 ? "" : "s"}`),
    ...node.pods.map(drawPod)));
  if (cluster.waiting.length) boxes.push(el("div", { class: "waiting" }, el("h3", {}, "Waiting for a node"), ...cluster.waiting.map(drawPod)));
  $("nodes").replaceChildren(...boxes);
}

// Says what has changed since the last snapshot; screen readers read this status line aloud.
let before;
function news(now) {
  const say = (text) => {
    $("news").textContent = `${clock(page.now())} ${text}`;
    document.title = `${text} · Push to live`;
  };
  if (before) {
    for (const stage of now.pipeline.stages) {
      const was = before.pipeline.stages.find((one) => one.name === stage.name);
      if (stage.status && was?.status !== stage.status) say(`${stage.name}: ${meaning(stage.status)[1].toLowerCase()}`);
      if (stage.actions.some((one) => one.approval) && !was?.actions.some((one) => one.approval)) say(`${stage.name} is waiting for approval`);
    }
    if (now.cluster.rollout && before.cluster.rollout !== now.cluster.rollout) say(now.cluster.rollout);
    const change = now.app.changes.at(-1);
    if (change && before.app.changes.at(-1)?.at !== change.at) say(`The app now answers with ${short(change.version)}`);
  }
  before = now;
}

// Without a snapshot before the next one, there is no news.
function forget() {
  before = undefined;
  $("news").textContent = "";
  document.title = "Push to live";
}

function draw(now) {
  $("where").textContent = [now.pipeline.name, now.region].filter(Boolean).join(" in ");
  const { executions, ...pipeline } = now.pipeline;
  part("pipeline", pipeline, drawPipeline);
  part("history", { executions, note: executions.length ? "" : "No executions yet." }, drawHistory);
  part("build", now.build, drawBuild);
  part("app", now.app, drawApp);
  part("cluster", now.cluster, drawCluster);
  news(now);
}

function connection(kind, words) {
  const pillElement = $("connection");
  if (pillElement.dataset.kind === kind) return;
  pillElement.dataset.kind = kind;
  pillElement.className = `pill ${kind}`;
  pillElement.replaceChildren(icon(kind), words);
}

// Updates the durations that are still counting.
function tick() {
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = duration(page.now() - Number(element.dataset.since));
  }
}

function scrollToEnd() {
  if ($("follow").checked) $("log").scrollTop = $("log").scrollHeight;
}

// Scrolling up stops following the log; scrolling back to the end follows it again.
$("log").addEventListener("scroll", () => {
  const log = $("log");
  $("follow").checked = log.scrollHeight - log.scrollTop - log.clientHeight < 20;
});
$("follow").addEventListener("change", scrollToEnd);
new ResizeObserver(scrollToEnd).observe($("log"));
