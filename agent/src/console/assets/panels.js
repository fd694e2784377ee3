// The node beside the studies: queue, models, destinations.
import { ago, chip, count, el, keyed, mark, person, say, tone, word } from "./page.js";

export function drawQueue(list, status) {
  const names = new Map(status.studies.map((study) => [study.id, person(study.patient)]));
  draw(list, status.queue, (job) => job.id, "Nothing waits.", () => {
    const state = chip();
    const model = el("strong");
    const study = el("span", { class: "muted" });
    const since = ago();
    const item = el("li", { class: "row" }, el("div", {}, model, study), el("div", { class: "right" }, state, since));
    item.update = (job) => {
      state.set(word(job.state), tone(job.state));
      say(model, job.model);
      say(study, names.get(job.study) ?? `Job ${job.id}`);
      since.set(job.since);
    };
    return item;
  });
}

const MODES = new Map([
  ["shadow", "Shadow: runs, and nothing is sent to clinicians"],
  ["research", "Research: results say that they are not for diagnosis"],
  ["clinical", "Clinical: within its intended use"],
]);

export function drawModels(list, models) {
  draw(list, models, (model) => model.digest + model.name, "No model is loaded: studies are kept, and none is analysed.", () => {
    const title = el("strong");
    const vendor = el("span", { class: "muted" });
    const state = chip();
    const mode = chip();
    const engine = el("p", { class: "engine" });
    const why = el("p", { class: "muted small" });
    const outcomes = el("p", { class: "small tally" });
    const use = el("p", { class: "small" });
    const digest = el("p", { class: "small mono digest" });
    const [off, recall] = [button(), button("Recall results…", "recall")];
    const item = el("li", {},
      el("div", { class: "row" }, el("div", {}, title, vendor), el("div", { class: "right" }, state, mode)),
      engine, why, outcomes, el("div", { class: "orders" }, off, recall),
      el("details", {}, el("summary", {}, "Intended use"), use, digest));
    item.update = (model) => {
      say(title, model.title);
      say(vendor, `${model.name} ${model.version} · ${model.vendor}`);
      state.set(word(model.state), tone(model.state));
      mode.set(word(model.mode), tone(model.mode));
      mode.title = MODES.get(model.mode) ?? "";
      say(engine, model.engine ? `Engine: ${model.engine}` : "No engine");
      say(why, model.explanation);
      say(outcomes, model.outcomes.filter(([, n]) => n > 0).map(([name, n]) => `${n.toLocaleString("en")} ${word(name).toLowerCase()}`).join(" · "));
      say(use, model.intended_use);
      say(digest, model.digest);
      const isOff = model.state === "suspended";
      say(off, isOff ? "Resume…" : "Suspend…");
      mark(off, "data-order", isOff ? "resume" : "suspend");
      for (const one of [off, recall]) mark(one, "data-title", `${model.title} ${model.version}`);
      mark(off, "data-name", model.name);
      mark(off, "aria-label", `${isOff ? "Resume" : "Suspend"} ${model.title}`);
      mark(recall, "data-name", `${model.name}@${model.version}`);
      mark(recall, "aria-label", `Recall results of ${model.title}`);
    };
    return item;
  });
}

export function drawDestinations(list, destinations) {
  draw(list, destinations, (destination) => destination.name, "No destination is configured: results stay here.", () => {
    const name = el("strong");
    const address = el("span", { class: "muted mono" });
    const state = chip();
    const tally = el("p", { class: "small tally" });
    const trouble = el("p", { class: "why", "data-tone": "bad" });
    const again = button("Send again…", "requeue");
    const orders = el("div", { class: "orders" }, again);
    const item = el("li", {}, el("div", { class: "row" }, el("div", {}, name, address), el("div", { class: "right" }, state)), tally, trouble, orders);
    item.update = (destination) => {
      say(name, destination.name);
      say(address, `${destination.ae_title} ${destination.address}`);
      state.set(destination.trouble ? "Trouble" : "Working", destination.trouble ? "bad" : "good");
      if (!destination.trouble && destination.delivered === 0) state.set("Not used yet", "plain");
      say(tally, [`${destination.delivered.toLocaleString("en")} delivered`, `${destination.waiting.toLocaleString("en")} waiting`,
        destination.held > 0 && count(destination.held, "held", "held"),
        destination.dead > 0 && count(destination.dead, "given up", "given up")].filter(Boolean).join(" · "));
      say(trouble, destination.trouble ?? "");
      trouble.hidden = !destination.trouble;
      mark(again, "data-name", destination.name);
      mark(again, "aria-label", `Send again to ${destination.name}`);
      orders.hidden = destination.held + destination.dead === 0;
    };
    return item;
  });
}

/** Opens an order, see orders.js. */
function button(text = "", order = null) {
  return el("button", { type: "button", class: "quiet", "data-order": order }, text);
}

function draw(list, items, key, nothing, make) {
  const all = items.length ? items.map((item) => ({ key: key(item), item })) : [{ key: "nothing" }];
  keyed(list, all, (entry) => entry.key, (entry) => {
    if (!entry.item) return el("li", { class: "muted nothing" }, nothing);
    const element = make();
    const update = element.update;
    element.update = ({ item }) => update(item);
    return element;
  });
}
