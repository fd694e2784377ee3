// Reads the status whenever the server says that it changed, and draws it.
import { bytes, count, el, keyed, mark, person, say, tick, word } from "./page.js";
import { inProgress, needsAttention, studyItem } from "./study.js";
import { drawDestinations, drawModels, drawQueue } from "./panels.js";
import { takeOrders } from "./orders.js";
import { drawUpdater } from "./updater.js";

const $ = (id) => document.getElementById(id);
const FILTERS = [
  ["all", "All", () => true],
  ["progress", "In progress", inProgress],
  ["delivered", "Delivered", (study) => study.state === "delivered"],
  ["attention", "Attention", needsAttention],
];
let status = null;
let filter = "all";
let lost = false;

function draw() {
  drawBand();
  if (!status) return;
  say($("version"), status.version);
  say($("variant"), status.variant?.name ?? "");
  $("variant").hidden = !status.variant;
  drawFilters();
  const matches = FILTERS.find(([name]) => name === filter)[2];
  const words = $("search").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const shown = status.studies.filter((study) => {
    const text = [study.patient.replaceAll("^", " "), study.patient_id, study.accession, study.description, study.modalities.join(" "), study.state].join(" ");
    return matches(study) && words.every((w) => text.toLocaleLowerCase().includes(w));
  });
  keyed($("study-list"), shown, (study) => study.id, (study) => studyItem(study, openViewer));
  $("none").hidden = shown.length > 0 || status.studies.length === 0;
  drawEmpty();
  drawQueue($("queue"), status);
  drawModels($("models"), status.models);
  drawDestinations($("destinations"), status.destinations);
}

function drawBand() {
  const [tone, state, text] =
    lost ? ["bad", "No connection", "The agent does not answer; trying again. What is shown may be old."]
    : !status ? ["idle", "Connecting", ""]
    : status.draining ? ["warn", "Draining", "Running jobs end; new associations are refused until the agent starts again."]
    : !status.spool.accepting ? ["bad", "Full", `${status.spool.lack === "disk" ? "The disk" : "The quota"} of the spool is full: C-STORE is answered A700 until studies go by retention, or there is more room.`]
    : status.spool.damaged ? ["warn", "Accepting", "Part of the spool does not read back, and what lay there is lost: have the disk checked."]
    : status.certificate?.alarm ? ["warn", "Accepting", `The node's certificate ${status.certificate.not_after ? `ends on ${status.certificate.not_after.slice(0, 10)}` : "is missing"}${status.certificate.trouble ? `: ${status.certificate.trouble}` : ". See to a new one."}`]
    : status.forward?.trouble ? ["warn", "Accepting", `The audit log is kept here and waits: ${status.forward.trouble}`]
    : ["good", "Accepting", "Studies are received and stored safely before they are confirmed."];
  mark($("band"), "data-tone", tone);
  say($("band-word"), state);
  say($("band-text"), text);
  document.title = lost || (status && (status.draining || !status.spool.accepting)) ? `${state} · Sund` : "Sund";
  if (!status) return;
  const { node, spool } = status;
  say($("node"), `${node.ae_title} ${node.address}`);
  say($("state"), status.state ?? "Its own configuration");
  say($("associations"), `${node.associations} open`);
  say($("received"), node.received.toLocaleString("en"));
  say($("spool"), `${bytes(spool.bytes)} of ${bytes(spool.quota)}`);
  const used = spool.quota ? Math.min(100, Math.round((100 * spool.bytes) / spool.quota)) : 0;
  mark($("spool-meter"), "aria-valuenow", used);
  mark($("spool-meter"), "data-tone", used >= 90 ? "bad" : used >= 75 ? "warn" : "plain");
  $("spool-meter").firstElementChild.style.width = `${used}%`;
}

function drawFilters() {
  keyed($("filters"), FILTERS, ([name]) => name, ([name, label, matches]) => {
    const number = el("span", { class: "number" });
    const button = el("button", { type: "button", class: "filter" }, `${label} `, number);
    button.addEventListener("click", () => {
      filter = name;
      draw();
    });
    button.update = () => {
      mark(button, "aria-pressed", name === filter);
      say(number, String(status.studies.filter(matches).length));
    };
    return button;
  });
}

function drawEmpty() {
  $("empty").hidden = status.studies.length > 0;
  const [, host = "127.0.0.1", port = "11112"] = status.node.address.match(/^\[?(.*?)\]?:(\d+)$/) ?? [];
  const to = host === "0.0.0.0" || host === "::" ? location.hostname : host;
  say($("dcmsend"), `dcmsend -nh +sd +r -aec ${status.node.ae_title} ${to} ${port} FOLDER`);
  say($("pynetdicom"), `python3 -m pynetdicom storescu -r -cx -aec ${status.node.ae_title} ${to} ${port} FOLDER`);
}

/** Tells a screen reader what changed, without names. */
function announce(before, after) {
  if (!before) return;
  const states = new Map(before.studies.map((study) => [study.id, study.state]));
  const changed = after.studies.filter((study) => states.get(study.id) !== study.state);
  if (changed.length === 1) say($("said"), `${changed[0].modalities.join(" ")} study: ${word(changed[0].state)}`);
  else if (changed.length) say($("said"), count(changed.length, "study changed", "studies changed"));
}

let asking = false;
let again = false;

/** One request at a time; a change during it asks once more. */
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const response = await fetch("/api/v1/status", { headers: { accept: "application/json" } });
    if (response.status === 401) return location.assign("/login");
    if (!response.ok) throw new Error(response.statusText);
    const next = await response.json();
    announce(status, next);
    status = next;
    lost = false;
  } catch {
    lost = true;
  } finally {
    asking = false;
  }
  draw();
  if (again) {
    again = false;
    refresh();
  }
}

let events = null;

/** Follows the changes while the page is seen: a browser has few connections for one server, and many tabs. */
function listen() {
  events?.close();
  if (document.hidden) return;
  const stream = (events = new EventSource("/api/v1/events"));
  stream.addEventListener("changed", refresh);
  stream.addEventListener("error", () => {
    // A stream that ended comes back by itself; a refused one (session over, too many) is asked for again.
    refresh();
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => stream === events && listen(), 3000);
  });
}

document.addEventListener("visibilitychange", listen);

// The viewer.
let viewed = [];
let view = 0;

function openViewer(study, index) {
  viewed = study.results.flatMap((result, i) => (result.preview ? [{ study, result, i }] : []));
  view = Math.max(0, viewed.findIndex(({ i }) => i === index));
  drawViewer();
  $("viewer").showModal();
}

function drawViewer() {
  const { study, result } = viewed[view];
  say($("viewer-title"), person(study.patient));
  say($("viewer-text"), `${result.summary} · ${word(result.outcome)} · ${result.model}`);
  mark($("viewer-picture"), "src", result.preview);
  mark($("viewer-picture"), "alt", `Preview with overlay: ${result.summary}`);
  $("viewer-before").hidden = $("viewer-after").hidden = viewed.length < 2;
}

function turn(by) {
  view = (view + by + viewed.length) % viewed.length;
  drawViewer();
}

$("viewer-before").addEventListener("click", () => turn(-1));
$("viewer-after").addEventListener("click", () => turn(1));
$("viewer-close").addEventListener("click", () => $("viewer").close());
$("viewer-picture").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("click", (event) => event.target === $("viewer") && $("viewer").close());
$("viewer").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(-1);
  if (event.key === "ArrowRight") turn(1);
});

// Theme, search, copy, session.
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
const drawTheme = () => say($("theme"), theme() === "dark" ? "Light theme" : "Dark theme");
$("theme").addEventListener("click", () => {
  const next = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
  drawTheme();
});
dark.addEventListener("change", drawTheme);
$("search").addEventListener("input", draw);
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard?.writeText($(button.dataset.copy).textContent);
  say(button, "Copied");
  setTimeout(() => say(button, "Copy"), 2000);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, dialog")) {
    event.preventDefault();
    $("search").focus();
  }
});

/** The updater writes a file of its own, of which no event tells. */
async function updater() {
  if (document.hidden || lost) return;
  const response = await fetch("/api/v1/updater", { headers: { accept: "application/json" } });
  if (response.ok) drawUpdater($("updates"), $("updater"), await response.json());
}

async function session() {
  const { user, support, operates } = await (await fetch("/api/v1/session")).json();
  $("logout").hidden = !user;
  $("support").hidden = !support;
  takeOrders(operates);
  say($("user"), user ?? "");
}

drawTheme();
setInterval(tick, 5000);
setInterval(() => updater().catch(() => {}), 2000);
updater().catch(() => {});
session().catch(() => {});
refresh();
listen();
