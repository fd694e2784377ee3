// The updater beside the node: what the channel has brought, what it does now, and what ends when.
import { ago, chip, count, el, keyed, mark, say, took } from "./page.js";

const STEPS = ["candidate", "verified", "installed", "tested", "active"];
const WORDS = new Map([
  ["candidate", "Is fetched and verified"], ["verified", "Is verified"], ["rebooting", "The new system is written"], ["installed", "Is on trial"],
  ["tested", "The trial held"], ["active", "Serves, and is watched"], ["rolling-back", "Is taken back"], ["ended", "Has ended, and is to be reported"],
]);
const ENDS = new Map([["active", ["Held", "good"]], ["rolled-back", ["Taken back", "bad"]], ["refused", ["Refused", "bad"]], ["stopped", ["Stopped", "warn"]]]);
const SOON = 2 * 86400;

const iso = (seconds) => new Date(seconds * 1000).toISOString();
const day = (seconds) => new Date(seconds * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
const now = () => Date.now() / 1000;

/** Shows what `/api/v1/updater` says; hides the section where this box has no updater. */
export function drawUpdater(section, list, seen) {
  section.hidden = !seen || seen.standing === "none";
  if (section.hidden) return;
  const { status, why } = seen;
  const parts = status
    ? [["head", head], status.stopped && ["stopped", stopped], status.action && ["action", action], status.last && ["last", last], ["rest", rest]]
    : [["silent", silent]];
  keyed(list, parts.filter(Boolean), ([name]) => name, ([, make]) => make());
  for (const part of list.children) part.show({ status, why, seen });
}

function silent() {
  const state = chip();
  const why = el("p", { class: "why", "data-tone": "warn" });
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, el("strong", {}, "Nothing is known of it")), el("div", { class: "right" }, state)), why);
  item.show = ({ seen }) => {
    state.set(seen.standing === "absent" ? "Silent" : "Unreadable", "warn");
    say(why, seen.why);
  };
  return item;
}

function head() {
  const state = el("strong");
  const since = el("span", { class: "muted" });
  const standing = chip();
  const why = el("p", { class: "why", "data-tone": "warn" });
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, state, since), el("div", { class: "right" }, standing)), why);
  item.show = ({ status, seen }) => {
    const { unheard } = status.now;
    const deaf = unheard && `The region is not heard, and what it suspends or withdraws does not reach this box: ${unheard.reason}`;
    const trouble = deaf ?? status.now.poll?.trouble;
    say(state, status.state ?? "Its own configuration");
    say(since, status.since ? `good since ${day(status.since)}` : "nothing has come from the channel yet");
    if (seen.standing === "old") standing.set("Silent", "warn");
    else if (unheard) standing.set("Region not heard", "bad");
    else if (trouble) standing.set("Channel away", "warn");
    else standing.set("In touch", "good");
    const old = `The updater has said nothing for ${took((now() - seen.since) * 1000)}; what is shown may be old.`;
    say(why, seen.standing === "old" ? old : (trouble ?? ""));
    why.hidden = seen.standing !== "old" && !trouble;
  };
  return item;
}

function stopped() {
  const why = el("p", { class: "why", "data-tone": "bad" });
  const item = el("li", {}, el("strong", { class: "title" }, "All rollouts are stopped"), why);
  item.show = ({ status }) => say(why, `By the region, ${status.stopped}`);
  return item;
}

function named(action) {
  const what = action.origin === "stick" ? "from a stick" : `action ${action.id}`;
  return [action.state ?? "No state", what];
}

function action() {
  const title = el("strong");
  const from = el("span", { class: "muted" });
  const state = chip();
  const since = ago();
  const steps = el("ol", { class: "steps", role: "img" }, ...STEPS.map(() => el("li")));
  const doing = el("p", { class: "engine" });
  const why = el("p", { class: "why" });
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, title, from), el("div", { class: "right" }, state, since)), steps, doing, why);
  item.show = ({ status }) => {
    const { step, fault } = status.action;
    const { progress, waits } = status.now;
    const back = step === "rolling-back";
    const [name, what] = named(status.action);
    say(title, name);
    say(from, what);
    since.set(iso(status.action.since));
    state.set(back ? "Back" : waits ? "Waits" : "Goes on", back ? "bad" : waits ? "warn" : "busy");
    const at = back || step === "ended" ? STEPS.length : STEPS.indexOf(step === "rebooting" ? "verified" : step);
    [...steps.children].forEach((part, n) => mark(part, "data-state", n < at ? "done" : n === at ? "now" : "ahead"));
    mark(steps, "data-tone", back ? "bad" : waits ? "warn" : "sea");
    mark(steps, "aria-label", `Step ${Math.min(at + 1, STEPS.length)} of ${STEPS.length}`);
    const came = progress?.of ? `: ${Math.floor((100 * progress.cnt) / progress.of)} % of ${count(progress.of, "kB", "kB")}` : "";
    say(doing, `${WORDS.get(step) ?? step}${step === "candidate" ? came : ""}`);
    const reason = fault ?? waits;
    mark(why, "data-tone", back ? "bad" : "warn");
    why.hidden = !reason;
    if (reason) why.replaceChildren(`${back ? "" : "Waits: "}${reason.reason} `, el("code", {}, reason.code));
  };
  return item;
}

function last() {
  const title = el("strong");
  const from = el("span", { class: "muted" });
  const state = chip();
  const ended = ago();
  const why = el("p", { class: "why" });
  const lines = el("ul", { class: "small" });
  const details = el("details", {}, el("summary", {}, "Findings"), lines);
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, title, from), el("div", { class: "right" }, state, ended)), why, details);
  item.show = ({ status }) => {
    const { end, fault, details: found } = status.last;
    const [name, what] = named(status.last);
    say(title, name);
    say(from, `the last one, ${what}`);
    const [word, tone] = ENDS.get(end) ?? [end ?? "Ended", "plain"];
    state.set(word, tone);
    ended.hidden = !status.last.ended;
    if (status.last.ended) ended.set(iso(status.last.ended));
    mark(why, "data-tone", tone);
    why.hidden = !fault;
    if (fault) why.replaceChildren(`${fault.reason} `, el("code", {}, fault.code));
    details.hidden = found.length === 0;
    keyed(lines, found.map((text, n) => ({ text, n })), ({ n }) => n, () => {
      const line = el("li");
      line.update = ({ text }) => say(line, text);
      return line;
    });
  };
  return item;
}

/** Whether the region has the recovery key of the disk, in words and in a tone. */
function kept({ standing, since, fault }) {
  if (fault) return [fault.reason, "warn"];
  if (standing === "kept") return [`kept by the region since ${day(since)}`, "plain"];
  return standing === "waits" ? ["waits to be kept by the region", "plain"] : ["none was made here yet", "plain"];
}

/** Whether the box could be rescued, were neither slot to start, in words and in a tone. */
function rescue({ least, offered, fault }) {
  if (fault) return [`nothing would be taken: ${fault.reason}`, "bad"];
  if (offered === null) return [`version ${least ?? 0} and later; what the region offers is not known yet`, "plain"];
  return [`version ${offered} is offered, not below the counter (${least ?? 0})`, "plain"];
}

/** Whether the firmware starts what is signed alone, in words and in a tone. */
function signed(secureBoot) {
  return secureBoot === "off" ? ["off: this box starts any system, and its disk may open to it", "bad"] : [secureBoot, "plain"];
}

function rest() {
  const list = el("dl", { class: "ends" });
  const item = el("li", {}, list);
  item.show = ({ status }) => {
    const { poll } = status.now;
    const until = (seconds) => [seconds <= now() ? `ended ${day(seconds)}` : day(seconds), seconds <= now() ? "bad" : seconds < now() + SOON ? "warn" : "plain"];
    const next = poll && (poll.next > now() ? `in ${took((poll.next - now()) * 1000)}` : "due");
    const lines = [
      next && ["Next poll", next, "plain"],
      status.heard && ["Region heard", `version ${status.heard.version}${status.heard.at === null ? "" : `, ${day(status.heard.at)}`}`, status.now.unheard ? "bad" : "plain"],
      status.os && ["System", status.os, "plain"],
      status.variant && ["Variant", status.variant.name, "bad"],
      status.kept.length && ["Can go back to", status.kept.join(", "), "plain"],
      ...Object.entries(status.suspended_by_region).map(([name, why]) => [`${name} is off`, why, "bad"]),
      status.suspended.length && ["Off, nothing approved", status.suspended.join(", "), "bad"],
      status.escrow && ["Disk recovery key", ...kept(status.escrow)],
      status.recovery && ["Rescue", ...rescue(status.recovery)],
      status.secure_boot && ["Secure Boot", ...signed(status.secure_boot)],
      status.certificate_until && ["Certificate until", ...until(status.certificate_until)],
      ...Object.entries(status.metadata_until).map(([role, seconds]) => [`${role} until`, ...until(seconds)]),
      ["Updater", `${status.version}, as ${status.id}`, "plain"],
    ];
    keyed(list, lines.filter(Boolean), ([name]) => name, () => {
      const [name, value] = [el("dt"), el("dd")];
      const line = el("div", {}, name, value);
      line.update = ([key, text, tone]) => {
        say(name, key);
        say(value, text);
        mark(value, "data-tone", tone);
      };
      return line;
    });
  };
  return item;
}
