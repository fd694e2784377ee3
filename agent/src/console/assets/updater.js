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

/** What is the matter, each as a sentence and its code: what a person has to look into first comes first. */
function troubles({ now: { unheard, troubles, poll } }) {
  const deaf = unheard && [`The region is not heard, and what it suspends or withdraws does not reach this box: ${unheard.reason}`, unheard.code, "bad"];
  const others = troubles.map(({ what, fault }) => [`${what.charAt(0).toUpperCase()}${what.slice(1)}: ${fault.reason}`, fault.code, "bad"]);
  const away = poll?.trouble && [`The last poll found nothing: ${poll.trouble}`, "", "warn"];
  return [deaf, ...others, away].filter(Boolean);
}

/** What the updater does, where that is not said elsewhere on the page. */
function doing({ action, now: { doing, unheard, troubles, waits } }) {
  const said = [action?.step, "idle", ""].includes(doing) || [unheard, waits, ...troubles.map(({ fault }) => fault)].some((fault) => fault && doing.includes(fault.reason));
  return said ? "" : doing;
}

/** How the updater stands, in a word and in a tone. It is green where nothing is the matter. */
function standing(status, seen) {
  const { unheard, troubles, poll } = status.now;
  if (seen.standing === "old") return ["Silent", "warn"];
  if (unheard) return ["Region not heard", "bad"];
  if (troubles.length) return ["In trouble", "bad"];
  if (poll?.trouble) return ["Channel away", "warn"];
  if (status.escrow?.fault || lines(status).some(([name, , tone]) => name !== "Variant" && tone === "bad")) return ["Look below", "warn"];
  return status.action || doing(status) ? ["At work", "busy"] : ["In touch", "good"];
}

function head() {
  const state = el("strong");
  const since = el("span", { class: "muted" });
  const chipped = chip();
  const does = el("p", { class: "engine" });
  const old = el("p", { class: "why", "data-tone": "warn" });
  const whys = el("ul", { class: "whys" });
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, state, since), el("div", { class: "right" }, chipped)), does, old, whys);
  item.show = ({ status, seen }) => {
    say(state, status.state ?? "Its own configuration");
    say(since, status.since ? `good since ${day(status.since)}` : "nothing has come from the channel yet");
    chipped.set(...standing(status, seen));
    does.hidden = !doing(status);
    say(does, doing(status));
    old.hidden = seen.standing !== "old";
    if (!old.hidden) say(old, `The updater has said nothing for ${took((now() - seen.since) * 1000)}; what is shown may be old.`);
    keyed(whys, troubles(status), ([text]) => text, () => {
      const why = el("li", { class: "why" });
      why.update = ([text, code, tone]) => {
        mark(why, "data-tone", tone);
        why.replaceChildren(`${text} `, ...(code ? [el("code", {}, code)] : []));
      };
      return why;
    });
  };
  return item;
}

/** Figures and findings of an action, one below the other. */
function findings() {
  const lines = el("ul", { class: "small" });
  const details = el("details", {}, el("summary", {}, "Findings"), lines);
  details.set = (found) => {
    details.hidden = found.length === 0;
    keyed(lines, found.map((text, n) => ({ text, n })), ({ n }) => n, () => {
      const line = el("li");
      line.update = ({ text }) => say(line, text);
      return line;
    });
  };
  return details;
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
  const step = el("p", { class: "engine" });
  const why = el("p", { class: "why" });
  const found = findings();
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, title, from), el("div", { class: "right" }, state, since)), steps, step, why, found);
  item.show = ({ status }) => {
    const { step: at, fault, details } = status.action;
    const { progress, waits } = status.now;
    const back = at === "rolling-back";
    const [name, what] = named(status.action);
    say(title, name);
    say(from, what);
    since.set(iso(status.action.since));
    state.set(back ? "Back" : waits ? "Waits" : "Goes on", back ? "bad" : waits ? "warn" : "busy");
    const n = back || at === "ended" ? STEPS.length : STEPS.indexOf(at === "rebooting" ? "verified" : at);
    [...steps.children].forEach((part, m) => mark(part, "data-state", m < n ? "done" : m === n ? "now" : "ahead"));
    mark(steps, "data-tone", back ? "bad" : waits ? "warn" : "sea");
    mark(steps, "aria-label", `Step ${Math.min(n + 1, STEPS.length)} of ${STEPS.length}`);
    const came = progress?.of ? `: ${Math.floor((100 * progress.cnt) / progress.of)} % of ${count(progress.of, "kB", "kB")}` : "";
    say(step, `${WORDS.get(at) ?? at}${came}`);
    found.set(details);
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
  const found = findings();
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, title, from), el("div", { class: "right" }, state, ended)), why, found);
  item.show = ({ status }) => {
    const { end, fault, details } = status.last;
    const [name, what] = named(status.last);
    say(title, name);
    say(from, `the last one, ${what}, taken up ${day(status.last.since)}`);
    const [word, tone] = ENDS.get(end) ?? [end ?? "Ended", "plain"];
    state.set(word, tone);
    ended.hidden = !status.last.ended;
    if (status.last.ended) ended.set(iso(status.last.ended));
    mark(why, "data-tone", tone);
    why.hidden = !fault;
    if (fault) why.replaceChildren(`${fault.reason} `, el("code", {}, fault.code));
    found.set(details);
  };
  return item;
}

/** Whether the region has the recovery key of the disk, in words and in a tone. */
function kept(escrow) {
  if (!escrow) return ["no key for escrow: the configuration names no key of the region to seal it to", "plain"];
  const { standing, since, recipient, fault } = escrow;
  if (fault) return [`${fault.reason} [${fault.code}]`, "warn"];
  const sealed = recipient ? `, sealed to ${recipient.slice(0, 16)}…` : "";
  if (standing === "kept") return [`kept by the region since ${day(since)}${sealed}`, "plain"];
  return standing === "waits" ? ["waits to be kept by the region", "plain"] : ["none was made here yet", "plain"];
}

/** Whether the box could be rescued, were neither slot to start, in words and in a tone. */
function rescue({ least, offered, fault }) {
  if (fault) return [`nothing would be taken: ${fault.reason} [${fault.code}]`, "bad"];
  if (offered === null) return [`version ${least ?? 0} and later; what the region offers is not known yet`, "plain"];
  return [`version ${offered} is offered, not below the counter (${least ?? 0})`, "plain"];
}

/** Whether the firmware starts what is signed alone, in words and in a tone. */
function signed(secureBoot) {
  return secureBoot === "off" ? ["off: this box starts any system, and its disk may open to it", "bad"] : [secureBoot, "plain"];
}

/** All else that the updater knows: names, values and tones. */
function lines(status) {
  const { poll, unheard } = status.now;
  const until = (seconds) => [seconds <= now() ? `ended ${day(seconds)}` : day(seconds), seconds <= now() ? "bad" : seconds < now() + SOON ? "warn" : "plain"];
  const span = (seconds) => took(seconds * 1000);
  const { heard } = status;
  const heardAt = heard && `version ${heard.version}${heard.at === null ? "" : `, ${day(heard.at)}`}`;
  const all = [
    ["Last poll", poll ? `${span(now() - poll.at)} ago` : "none yet", poll?.trouble ? "warn" : "plain"],
    poll && ["Next poll", poll.next > now() ? `in ${span(poll.next - now())}` : "due", "plain"],
    poll && ["Polls every", span(poll.interval_seconds), "plain"],
    ["Region heard", heardAt ?? "never", unheard ? "bad" : "plain"],
    status.os && ["System", status.os, "plain"],
    status.variant && ["Variant", status.variant.name, "bad"],
    status.kept.length && ["Can go back to", status.kept.join(", "), "plain"],
    ...Object.entries(status.suspended_by_region).map(([name, why]) => [`${name} is off`, why, "bad"]),
    status.suspended.length && ["Off, nothing approved", status.suspended.join(", "), "bad"],
    ["Disk recovery key", ...kept(status.escrow)],
    status.recovery && ["Rescue", ...rescue(status.recovery)],
    status.secure_boot && ["Secure Boot", ...signed(status.secure_boot)],
    status.certificate_until && ["Certificate until", ...until(status.certificate_until)],
    ...Object.entries(status.metadata_until).map(([role, seconds]) => [`${role} until`, ...until(seconds)]),
    ["Channel server", status.server, "plain"],
    ["Tenant", status.tenant, "plain"],
    ["Updater", `${status.version}, as ${status.id}`, "plain"],
  ];
  return all.filter(Boolean);
}

function rest() {
  const list = el("dl", { class: "ends" });
  const item = el("li", {}, list);
  item.show = ({ status }) => {
    keyed(list, lines(status), ([name]) => name, () => {
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
