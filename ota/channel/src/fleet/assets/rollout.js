// One rollout: its waves as bars, its reason, and what this person may order.
import { ago, chip, count, el, keyed, mark, say, tone, word } from "./page.js";

const ORDER = ["finished", "taken", "canceling", "offered", "failed", "silent", "scheduled", "canceled"];

/** Orders by role and status: the server checks both again. */
const ORDERS = [
  ["approve", "Approve", ["waiting-for-approval"], ["approver"]],
  ["start", "Start", ["ready"], ["operator"]],
  ["pause", "Pause", ["running"], ["operator", "approver"]],
  ["resume", "Go on", ["paused"], ["operator"]],
  ["retry", "Try failed boxes again", ["running", "paused", "finished"], ["operator"]],
  ["stop", "Stop", ["waiting-for-approval", "ready", "running", "paused"], ["operator", "approver"]],
];

const sum = (boxes) => Object.values(boxes).reduce((all, n) => all + n, 0);
const bad = (boxes) => (boxes.failed ?? 0) + (boxes.silent ?? 0);
const gone = (boxes) => (boxes.canceling ?? 0) + (boxes.canceled ?? 0);

function waveItem() {
  const bar = el("div", { class: "wave-bar", role: "img" });
  const title = el("strong");
  const filter = el("p", {}, title);
  const text = el("p");
  const item = el("li", { class: "wave" }, bar, filter, text);
  item.update = ({ wave, n }) => {
    const total = sum(wave.boxes);
    item.style.setProperty("--share", Math.max(1, Math.sqrt(total)));
    mark(item, "data-begun", wave.begun_at !== null);
    const parts = ORDER.filter((status) => wave.boxes[status]).map((status) => [status, wave.boxes[status]]);
    const said = parts.map(([status, boxes]) => `${boxes.toLocaleString("en")} ${word(status).toLowerCase()}`).join(", ");
    mark(bar, "aria-label", `Wave ${n + 1}: ${said || "no boxes"}`);
    keyed(bar, parts, ([status]) => status, ([status]) => {
      const part = el("span", { "data-status": status, "data-tone": tone(status) });
      part.update = ([, boxes]) => { part.style.flex = `${boxes} 1 0`; };
      return part;
    });
    say(title, `Wave ${n + 1}`);
    mark(filter, "title", `${wave.success} % have to end well, ${wave.error} % may fail`);
    say(text, [wave.filter, said || "no boxes yet"].join(" · "));
  };
  return item;
}

export function rolloutItem(order) {
  const name = el("h3");
  const state = chip();
  const about = el("span");
  const since = ago();
  const waves = el("ol", { class: "waves" });
  const reason = el("p", { class: "why", "data-tone": "warn" });
  const orders = el("div", { class: "orders" });
  const item = el("li", { class: "rollout" },
    el("div", { class: "rollout-head" }, el("div", {}, name, el("p", { class: "muted small" }, about, " · ", since)), el("div", {}, state)), waves, reason, orders);
  item.update = ({ rollout, role }) => {
    say(name, rollout.name);
    state.set(word(rollout.status), tone(rollout.status));
    mark(item, "data-tone", rollout.status === "paused" ? "warn" : null);
    const window = rollout.maintenance && `${rollout.maintenance.from} to ${rollout.maintenance.until}, the boxes’ time`;
    say(about, [rollout.state.replace(/^state\//, "").replace(/\.json$/, ""), `made by ${rollout.created_by}`,
      rollout.approved_by && `approved by ${rollout.approved_by}`, window].filter(Boolean).join(" · "));
    since.set(new Date(rollout.started_at ?? rollout.created_at).toISOString());
    keyed(waves, rollout.waves.map((wave, n) => ({ wave, n })), ({ n }) => n, waveItem);
    say(reason, rollout.reason ?? "");
    reason.hidden = !rollout.reason;
    const failed = rollout.waves.reduce((all, wave) => all + bad(wave.boxes), 0);
    const allowed = ORDERS.filter(([kind, , statuses, roles]) =>
      statuses.includes(rollout.status) && roles.includes(role) && (kind !== "retry" || failed > 0));
    keyed(orders, allowed, ([kind]) => kind, ([kind, label]) => {
      const button = el("button", { type: "button", class: kind === "stop" || kind === "pause" ? "quiet" : "" }, label);
      button.addEventListener("click", () => order(item.rollout, kind));
      return button;
    });
    item.rollout = rollout;
  };
  return item;
}

/** What a person is asked before an order that cannot be taken back, or that reaches many boxes. */
export function question(rollout, kind) {
  const boxes = count(rollout.waves.reduce((all, wave) => all + sum(wave.boxes), 0), "box", "boxes");
  const failed = count(rollout.waves.reduce((all, wave) => all + bad(wave.boxes), 0), "failure", "failures");
  const left = rollout.waves.reduce((all, wave) => all + (wave.begun_at ? gone(wave.boxes) : 0), 0);
  const taken = left > 0 ? ` and ${count(left, "box", "boxes")} that were taken over or back` : "";
  return {
    stop: [`Stop ${rollout.name}?`, `What ${boxes} have not finished is taken back. A stopped rollout does not start again.`, "Stop it"],
    resume: [`Go on with ${rollout.name}?`, `You accept ${failed}${taken} so far; one more pauses it again.`, "Go on"],
    approve: [`Approve ${rollout.name}?`, `It brings ${rollout.state} to the boxes of its waves.`, "Approve"],
  }[kind];
}
