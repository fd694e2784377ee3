// What a person who has logged in orders: each order is a question first, with its reason; a recall tells before what it would find.
import { count, el, keyed, say } from "./page.js";

const $ = (id) => document.getElementById(id);
let order = null;
let opener = null;

const results = (n) => count(n, "result", "results");

/** Of each order: what it is called, what is said of it, what it needs, and what it says once it is done. */
const ORDERS = {
  suspend: {
    title: ({ title }) => `Suspend ${title}`,
    text: ({ name }) => `From now on ${name} answers nothing on this box, until somebody resumes it. Jobs that wait or run end as failed. What it has sent stays where it is.`,
    button: "Suspend",
    grave: true,
    reason: true,
    request: ({ name, reason }) => ({ suspend: { package: name, reason } }),
    done: ({ name }) => `${name} is suspended.`,
  },
  resume: {
    title: ({ title }) => `Resume ${title}`,
    text: ({ name }) => `${name} answers the studies that come from now on. What the region has suspended the region alone lets serve again.`,
    button: "Resume",
    request: ({ name }) => ({ resume: { package: name } }),
    done: ({ name }) => `${name} is resumed.`,
  },
  requeue: {
    title: ({ name }) => `Send again to ${name}`,
    text: () => "Results that were given up or are held for this destination are queued again. Mend the cause first: see the timelines of their studies.",
    button: "Send again",
    request: ({ name }) => ({ requeue: { destination: name } }),
    done: (_, { requeued }) => `Queued again: ${results(requeued.results)}.`,
  },
  recall: {
    title: () => "Recall results",
    text: () => "Takes back what a package has made: what waits never goes, and destinations that take such notes are told to reject what they have. It cannot be undone. First see what it would find.",
    button: "See what it would find",
    package: true,
    request: ({ name }) => ({ recall: { package: name, reason: null } }),
  },
  recalled: {
    title: ({ name }) => `Recall ${name}`,
    text: () => "This cannot be undone.",
    button: ({ found }) => `Recall ${results(sum(found, "sent") + sum(found, "in_doubt") + sum(found, "cancelled"))}`,
    grave: true,
    reason: true,
    request: ({ name, reason }) => ({ recall: { package: name, reason } }),
    done: ({ name }, { recalled }) => `${name} is recalled in ${count(recalled.studies, "study", "studies")}.`,
  },
};

const sum = (found, what) => Object.values(found.destinations).reduce((total, counts) => total + counts[what], 0);

/** The buttons are there for who may order; what they order stands in their attributes. */
export function takeOrders(may) {
  document.body.toggleAttribute("data-operates", Boolean(may));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-order]");
  if (!button) return;
  opener = button;
  const { order: kind, name = "", title = name } = button.dataset;
  ask(kind, { name, title });
  $("order").showModal();
  (ORDERS[kind].package ? $("order-package") : ORDERS[kind].reason ? $("order-reason") : $("order-cancel")).focus();
});

/** Asks before it is done. */
function ask(kind, about) {
  const it = ORDERS[kind];
  order = { kind, ...about };
  say($("order-title"), it.title(about));
  say($("order-text"), it.text(about));
  say($("order-do"), typeof it.button === "function" ? it.button(about) : it.button);
  $("order-do").disabled = $("order-do").hidden = false;
  $("order-do").classList.toggle("danger", Boolean(it.grave));
  say($("order-cancel"), "Cancel");
  tell("");
  $("order-name").hidden = !it.package;
  $("order-package").required = Boolean(it.package);
  if (it.package) $("order-package").value = about.name;
  $("order-why").hidden = !it.reason;
  $("order-reason").required = Boolean(it.reason);
  $("order-reason").value = "";
  drawFound(about.found);
}

function tell(text, tone = "bad") {
  say($("order-message"), text);
  $("order-message").dataset.tone = tone;
}

/** What a recall finds, by destination. */
function drawFound(found) {
  $("order-found").hidden = !found;
  if (!found) return;
  say($("order-studies"), `Results in ${count(found.studies, "study", "studies")}${found.open_jobs ? `, and ${count(found.open_jobs, "job that has", "jobs that have")} not ended` : ""}.`);
  const rows = Object.entries(found.destinations).map(([name, counts]) => ({ name, counts }));
  keyed($("order-rows"), rows, ({ name }) => name, () => {
    const cells = ["name", "sent", "in_doubt", "cancelled", "by_hand"].map((what) => [what, el(what === "name" ? "th" : "td", what === "name" ? { scope: "row" } : {})]);
    const row = el("tr", {}, ...cells.map(([, cell]) => cell));
    row.update = ({ name, counts }) => cells.forEach(([what, cell]) => say(cell, what === "name" ? name : counts[what].toLocaleString("en")));
    return row;
  });
  $("order-table").hidden = rows.length === 0;
  const left = [
    sum(found, "by_hand") > 0 && `${results(sum(found, "by_hand"))} to be withdrawn by hand: the destination takes no rejection notes.`,
    found.still_on.length > 0 && `${found.still_on.join(", ")} still serves and makes more: suspend it, then recall.`,
    found.not_done > 0 && `${count(found.not_done, "study", "studies")} could not be done: recall again.`,
  ].filter(Boolean);
  say($("order-left"), left.join(" "));
  $("order-left").hidden = left.length === 0;
}

const UNKNOWN = "It is not known whether it was done: look before you order it again.";

async function send(request) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  const response = await fetch("/api/v1/orders", { method: "POST", headers, body: JSON.stringify(request) }).catch(() => null);
  if (!response) throw new Error(UNKNOWN);
  if (response.status === 401) location.assign("/login");
  const answer = await response.json().catch(() => ({}));
  if (answer.refused) throw Object.assign(new Error(`${answer.refused.reason} [${answer.refused.code}]`), { goesOn: response.status === 202 });
  if (!response.ok) throw new Error(UNKNOWN);
  return answer;
}

$("order-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = order;
  const it = ORDERS[asked.kind];
  const about = { ...asked, name: it.package ? $("order-package").value.trim() : asked.name, reason: $("order-reason").value.replace(/\s+/g, " ").trim() };
  $("order-do").disabled = true;
  tell("");
  try {
    const answer = await send(it.request(about));
    // Whoever has left the question, or asks another by now, is not disturbed.
    if (order !== asked) return;
    if (answer.recalled?.dry) {
      ask("recalled", { name: about.name, title: about.name, found: answer.recalled });
      $("order-reason").focus();
      return;
    }
    $("order-do").hidden = true;
    $("order-name").hidden = $("order-why").hidden = true;
    $("order-reason").required = false;
    if (answer.recalled) drawFound(answer.recalled);
    tell(it.done(about, answer), "good");
    say($("order-cancel"), "Close");
    $("order-cancel").focus();
  } catch (error) {
    if (order !== asked) return;
    $("order-do").disabled = Boolean(error.goesOn);
    tell(error.message, error.goesOn ? "warn" : "bad");
  }
});

$("order-cancel").addEventListener("click", () => $("order").close());
$("order").addEventListener("close", () => {
  if ($("order").open) return;
  order = null;
  if (opener?.isConnected) opener.focus();
});
