// Reads the fleet whenever the server says that something changed, and draws it.
import { drawAuthorities } from "./authorities.js";
import { ago, chip, count, el, keyed, mark, say, tick, tone, word } from "./page.js";
import { question, rolloutItem } from "./rollout.js";

const $ = (id) => document.getElementById(id);
/** Stands for the states that the server does not tell apart: no target has this name. */
const OTHERS = "others";
const plain = (state) => (state === OTHERS ? "Other states" : state?.replace(/^state\//, "").replace(/\.json$/, "") ?? "No state");
let fleet = null;
let boxes = null;
let role = "viewer";
let page = 0;
let lost = false;

function draw() {
  drawBand();
  if (!fleet) return;
  drawAlarms();
  keyed($("rollout-list"), fleet.rollouts.length ? fleet.rollouts.map((rollout) => ({ rollout, role })) : [{}], ({ rollout }) => rollout?.name ?? "none",
    ({ rollout }) => (rollout ? rolloutItem(order) : el("li", { class: "panel none" }, "No rollout yet. Make one with sund-channel rollout new.")));
  drawShare();
  drawFailures();
  $("authorities").hidden = role !== "operator";
  drawAuthorities($("held"), $("authority-list"), fleet.authorities);
  if (boxes) drawBoxes();
}

function drawBand() {
  const paused = fleet?.rollouts.filter((rollout) => rollout.status === "paused") ?? [];
  const running = fleet?.rollouts.filter((rollout) => rollout.status === "running") ?? [];
  const waiting = fleet?.rollouts.filter((rollout) => rollout.status === "waiting-for-approval") ?? [];
  const [tone, state, text] =
    lost ? ["bad", "No connection", "The channel does not answer; trying again. What is shown may be old."]
    : !fleet ? ["idle", "Connecting", ""]
    : paused.length ? ["warn", "Paused", `${paused[0].name}: ${paused[0].reason ?? ""}`]
    : waiting.length ? ["warn", "Waits for an approver", waiting.map((rollout) => rollout.name).join(", ")]
    : running.length ? ["sea", "Rolling out", running.map((rollout) => `${rollout.name}: ${plain(rollout.state)}`).join(", ")]
    : ["good", "At rest", "No rollout is running; boxes keep what they have."];
  mark($("band"), "data-tone", tone);
  say($("band-word"), state);
  say($("band-text"), text);
  document.title = lost || paused.length ? `${state} · Sund channel` : "Sund channel";
  if (!fleet) return;
  say($("count"), fleet.devices.toLocaleString("en"));
  say($("reachable"), fleet.reachable.toLocaleString("en"));
  say($("failed"), fleet.failed.toLocaleString("en"));
}

/** What ends, beside the signed roles, and what that means. */
const ENDS = {
  rescue: ["The recovery bundle", "no box is rescued with it"],
  server: ["The server's certificate", "no box is heard"],
};

/** How many boxes that do not hear the region are named. */
const NAMED = 5;

/** Which boxes a suspension or a withdrawal does not reach, and how far each suspension has come. */
function hearing() {
  const { behind, hours, boxes } = fleet.hearing;
  const named = boxes.slice(0, NAMED).map(({ device, since, trouble }) => {
    const when = new Date(since).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    return `${device} since ${when} (${trouble?.split(" ")[0] ?? "it finds nothing wrong: see to its mirror"})`;
  });
  const more = behind > named.length ? `, and ${(behind - named.length).toLocaleString("en")} more` : "";
  const name = `${count(behind, "box has", "boxes have")} not heard the region for ${hours} hours; what it suspends or withdraws does not get there: `;
  const unheard = behind > 0 ? [{ key: "unheard", tone: "bad", name, text: named.join(", ") + more }] : [];
  return unheard.concat(fleet.suspensions.map(({ package: model, version, reason, boxes: all, off }) => {
    const what = version ? `${model} ${version}` : model;
    const how = all === 0 ? "no box says that it has it" : `off on ${off.toLocaleString("en")} of ${count(all, "box", "boxes")}`;
    const name = `${what} is suspended, and ${how}: `;
    return { key: `suspended ${what}`, tone: off < all ? "bad" : "warn", name, text: reason };
  }));
}

/** What ails the signed repository and the server: why it is not renewed, and what ends. */
function drawAlarms() {
  const { trouble, alarms } = fleet.repository;
  const lines = alarms.map(({ role, expires, days_left: days, advice }) => {
    const day = new Date(expires).toLocaleDateString("en-GB", { dateStyle: "long" });
    const [what, then] = ENDS[role] ?? [`The signed role ${role}`, "boxes take no update"];
    const end = days < 0 ? `ended on ${day}, and ${then}` : `ends on ${day}, in ${count(days, "day", "days")}`;
    return { key: role, tone: days < 0 ? "bad" : "warn", name: `${what} ${end}: `, text: advice };
  });
  lines.unshift(...hearing());
  if (trouble) lines.unshift({ key: "trouble", tone: "bad", name: "The signed repository is not renewed: ", text: trouble.reason });
  keyed($("alarms"), lines, ({ key }) => key, () => {
    const [name, text] = [el("strong"), el("span")];
    const line = el("p", { class: "why" }, name, text);
    line.update = (alarm) => {
      mark(line, "data-tone", alarm.tone);
      say(name, alarm.name);
      say(text, alarm.text);
    };
    return line;
  });
}

/** The colour of a state: its place by frequency, the same in bar, legend and tiles. */
function part(state) {
  if (state === null || state === undefined) return "none";
  const place = fleet.installed.filter(([name]) => name !== null).findIndex(([name]) => name === state);
  return place < 0 ? OTHERS : String(place);
}

function drawShare() {
  const share = (tag) => ([state]) => {
    const element = el(tag, { "data-part": part(state) });
    element.update = ([name, boxes]) => {
      mark(element, "data-part", part(name));
      if (tag === "span") element.style.flex = `${boxes} 1 0`;
      else say(element, `${plain(name)}: ${boxes.toLocaleString("en")}`);
    };
    return element;
  };
  const parts = fleet.others > 0 ? [...fleet.installed, [OTHERS, fleet.others]] : fleet.installed;
  keyed($("share"), parts, ([state]) => state, share("span"));
  keyed($("legend"), parts, ([state]) => state, share("li"));
  mark($("share"), "aria-label", parts.map(([state, boxes]) => `${plain(state)}: ${count(boxes, "box", "boxes")}`).join(", "));
}

function drawBoxes() {
  keyed($("boxes"), boxes.devices, (box) => box.name, () => {
    const name = el("strong");
    const variant = chip();
    const unsecured = chip();
    const state = el("span");
    const about = el("span", { class: "muted" });
    const seen = ago();
    const never = el("span", { class: "muted" }, "never heard");
    const disk = el("span", { class: "muted" });
    const doing = chip();
    const tile = el("li", { class: "box" }, name, variant, unsecured, state, about, seen, never, disk, doing);
    seen.classList.add("muted");
    tile.update = (box) => {
      say(name, box.name);
      variant.hidden = !box.attributes.variant;
      if (box.attributes.variant) variant.set(`Variant: ${box.attributes.variant}`, "bad");
      unsecured.hidden = box.attributes.secure_boot !== "off";
      if (!unsecured.hidden) unsecured.set("Secure Boot off", "bad");
      say(state, box.mirror ? "Mirror" : plain(box.installed));
      mark(tile, "data-part", part(box.installed));
      mark(tile, "data-away", !(box.seen_at >= boxes.heardSince));
      say(about, box.blocked ? "Shut out" : [box.attributes.site, box.attributes.ring].filter(Boolean).join(" · "));
      seen.hidden = box.seen_at === null;
      never.hidden = box.seen_at !== null;
      if (box.seen_at !== null) seen.set(new Date(box.seen_at).toISOString());
      disk.hidden = box.mirror;
      say(disk, box.escrowed_at === null ? "Recovery key not kept" : `Recovery key kept since ${new Date(box.escrowed_at).toLocaleDateString("en-GB", { dateStyle: "medium" })}`);
      const [rollout, status] = box.doing ?? [];
      doing.hidden = !status || status === "finished";
      doing.set(word(status ?? ""), tone(status ?? ""));
      mark(tile, "title", rollout ? `${rollout}: ${word(status)}` : null);
    };
    return tile;
  });
  const first = page * boxes.pageSize;
  say($("range"), boxes.total ? `${(first + 1).toLocaleString("en")} to ${(first + boxes.devices.length).toLocaleString("en")} of ${boxes.total.toLocaleString("en")}` : "No box matches.");
  $("before").disabled = page === 0;
  $("after").disabled = first + boxes.devices.length >= boxes.total;
}

function drawFailures() {
  const more = fleet.failed - fleet.failures.length;
  const all = more > 0 ? [...fleet.failures, { more }] : fleet.failures.length ? fleet.failures : [{ more: 0 }];
  keyed($("failures"), all, (failure) => failure.device ? `${failure.device} ${failure.rollout}` : "more", (first) => {
    if (!first.device) {
      const item = el("li", { class: "muted nothing" });
      item.update = (last) => say(item, last.more > 0 ? `and ${last.more.toLocaleString("en")} more` : "No box has failed that has not ended well since.");
      return item;
    }
    const box = el("strong");
    const rollout = el("span", { class: "muted" });
    const state = chip();
    const since = ago();
    const words = el("p", { class: "why words", "data-tone": "bad" });
    const item = el("li", {}, el("div", { class: "row" }, el("div", {}, box, rollout), el("div", { class: "right" }, state, since)), words);
    item.update = (failure) => {
      say(box, failure.device);
      say(rollout, failure.rollout);
      state.set(word(failure.status), tone(failure.status));
      since.set(new Date(failure.at).toISOString());
      say(words, failure.reason ?? "");
    };
    return item;
  });
}

/** Tells a screen reader what changed. */
function announce(before, after) {
  if (!before) return;
  const known = new Map(before.rollouts.map((rollout) => [rollout.name, rollout.status]));
  const changed = after.rollouts.filter((rollout) => known.get(rollout.name) !== rollout.status);
  if (changed.length) say($("said"), changed.map((rollout) => `${rollout.name}: ${word(rollout.status)}`).join(", "));
}

async function ask(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

let asking = false;
let again = false;

/** One look at a time; a change during it looks once more. */
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const search = new URLSearchParams({ search: $("search").value, page });
    const [next, found] = await Promise.all([ask("/api/v1/overview"), ask(`/api/v1/devices?${search}`)]);
    announce(fleet, next);
    [fleet, boxes] = [next, found];
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

/** Asks first where it matters. */
function order(rollout, kind) {
  const asked = question(rollout, kind);
  const orders = () => give(rollout, kind);
  if (asked) sure(asked, orders);
  else orders();
}

/** Orders; a refusal is shown as the server says it. */
async function give(rollout, kind) {
  const path = `/api/v1/rollouts/${encodeURIComponent(rollout.name)}/${kind}`;
  const response = await fetch(path, { method: "POST" }).catch(() => null);
  if (!response) say($("trouble"), "The channel did not answer: look whether the order was taken before you give it again.");
  else if (!response.ok) say($("trouble"), (await response.json().catch(() => ({}))).message ?? "The channel refused that.");
  $("trouble").hidden = response?.ok === true;
  refresh();
}

/** What is done where the question in sight is answered with yes. The dialog's own event of closing is no answer: it may come
    when the next question is asked already. */
let agreed = null;

function sure([title, text, yes], then) {
  say($("sure-title"), title);
  say($("sure-text"), text);
  say($("sure-yes"), yes);
  agreed = then;
  $("sure").showModal();
}

$("sure-no").addEventListener("click", () => $("sure").close());
$("sure-yes").addEventListener("click", () => {
  $("sure").close();
  agreed();
});

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

const turn = (by) => () => {
  page += by;
  refresh();
};
$("before").addEventListener("click", turn(-1));
$("after").addEventListener("click", turn(1));
$("search").addEventListener("input", () => {
  page = 0;
  refresh();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, dialog")) {
    event.preventDefault();
    $("search").focus();
  }
});

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

async function session() {
  const person = await ask("/api/v1/session");
  role = person.role;
  say($("user"), `${person.user}, ${role}`);
  draw();
}

drawTheme();
setInterval(tick, 5000);
session().catch(() => {});
refresh();
listen();
