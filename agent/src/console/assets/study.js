// One study: its head, its track of steps, and, opened, every moment and every result.
import { ago, chip, clock, count, el, keyed, mark, person, say, took, tone, word } from "./page.js";

const STEPS = ["received", "complete", "routed", "running", "done", "delivered"];
const STOPS = new Set(["refused", "failed", "held"]);

/** True where a person should look. */
export const needsAttention = (study) =>
  STOPS.has(study.state) || study.timeline.at(-1)?.step === "held" ||
  study.results.some((result) => result.delivery.some(([, state]) => state === "dead" || state === "held"));

export const inProgress = (study) => !STOPS.has(study.state) && !["done", "delivered"].includes(study.state);

/** `open(study, index)` shows a preview picture. */
export function studyItem(first, open) {
  let study = first;
  const id = `study-${first.id}`;
  const name = el("button", { type: "button", class: "study-name", "aria-expanded": "false", "aria-controls": id });
  const patient = el("span", { class: "muted mono" });
  const facts = el("p", { class: "facts muted" });
  const verdicts = el("ul", { class: "verdicts", "aria-label": "What the models said" });
  const state = chip();
  const when = ago();
  const thumbs = el("div", { class: "thumbs" });
  const track = el("ol", { class: "track", "aria-label": "Timeline" });
  const why = el("p", { class: "why", hidden: true });
  const moments = el("ol", { class: "moments" });
  const results = el("ul", { class: "results" });
  const resultsPart = el("section", {}, el("h4", {}, "Results"), el("p", { class: "muted small" }, "AI output, unverified."), results);
  const detail = el("div", { id, class: "detail", hidden: true },
    el("section", {}, el("h4", {}, "Timeline"), moments), resultsPart);
  const item = el("li", { class: "study" },
    el("div", { class: "study-top" },
      el("div", { class: "study-head" },
        el("div", { class: "study-who" }, el("h3", {}, name), patient, facts),
        thumbs,
        el("div", { class: "study-state" }, state, when)),
      verdicts, track),
    why, detail);
  name.addEventListener("click", () => {
    detail.hidden = !detail.hidden;
    name.setAttribute("aria-expanded", String(!detail.hidden));
  });

  item.update = (next) => {
    study = next;
    say(name, person(study.patient));
    say(patient, study.patient_id);
    say(facts, [study.modalities.join(" "), study.description, count(study.instances, "image", "images"),
      study.accession && `Acc. ${study.accession}`].filter(Boolean).join(" · "));
    state.set(word(study.state), tone(study.state));
    if (study.timeline.length) when.set(study.timeline[0].at);
    mark(item, "data-tone", tone(study.state));
    drawTrack(track, study);
    const stop = [...study.timeline].reverse().find((moment) => STOPS.has(moment.step));
    const last = study.timeline.at(-1);
    drawWhy(why, STOPS.has(study.state) ? stop : STOPS.has(last?.step) || (study.state === "done" && !study.results.length) ? last : null);
    const models = new Map(study.results.map((result) => [result.model, result]).reverse());
    keyed(verdicts, [...models.values()].reverse(), (result) => result.model, verdict);
    keyed(moments, study.timeline.map((moment, index) => ({ moment, index })), (m) => m.index, momentItem);
    const indexed = study.results.map((result, index) => ({ result, index }));
    keyed(results, indexed, (r) => r.index, () => resultItem((index) => open(study, index)));
    resultsPart.hidden = study.results.length === 0;
    keyed(thumbs, indexed.filter((r) => r.result.preview).slice(0, 2), (r) => r.index, () => picture((index) => open(study, index)));
  };
  return item;
}

/** Why a study stopped, or ended without a result: silence is never an answer. */
function drawWhy(why, moment) {
  why.hidden = !moment;
  if (!moment) return;
  mark(why, "data-tone", STOPS.has(moment.step) ? tone(moment.step) : "plain");
  const head = STOPS.has(moment.step) ? word(moment.step) : "No result";
  const code = moment.code ? [" ", el("code", {}, moment.code)] : [];
  why.replaceChildren(el("strong", {}, `${head}: `), moment.text, ...code);
}

/** What one model said of a study, in one line. */
function verdict() {
  const outcome = chip();
  const summary = el("strong");
  const model = el("span", { class: "muted small" });
  const item = el("li", {}, outcome, summary, model);
  item.update = (result) => {
    outcome.set(word(result.outcome), tone(result.outcome));
    say(summary, result.summary);
    say(model, `${result.model}, AI, unverified`);
  };
  return item;
}

/** Six steps, each reached, skipped or still to come; a stop takes the place of the step that it prevented. */
function drawTrack(track, study) {
  const last = new Map(study.timeline.map((moment) => [moment.step, moment]));
  const start = study.timeline.length ? Date.parse(study.timeline[0].at) : 0;
  let reached = STEPS.reduce((far, step, index) => (last.has(step) ? index : far), -1);
  const stop = study.timeline.at(-1) && STOPS.has(study.timeline.at(-1).step) ? study.timeline.at(-1) : null;
  const steps = STEPS.map((step, index) => {
    if (stop && index === reached + 1) return { step: stop.step, state: stop.step, at: stop.at };
    if (index > reached) return { step, state: "ahead" };
    const now = index === reached && !stop && index < 4;
    return { step, state: !last.has(step) ? "skipped" : now ? "now" : "past", at: last.get(step)?.at };
  });
  if (stop && reached === STEPS.length - 1) steps[reached] = { step: stop.step, state: stop.step, at: stop.at };
  keyed(track, steps.map((step, index) => ({ ...step, index })), (step) => step.index, () => {
    const label = el("span", { class: "track-word" });
    const time = el("span", { class: "track-time" });
    const said = el("span", { class: "sr" });
    const item = el("li", {}, el("span", { class: "dot", "aria-hidden": "true" }), label, said, time);
    item.update = ({ step, state, at, index }) => {
      mark(item, "data-state", state);
      mark(item, "aria-current", state === "now" ? "step" : null);
      say(label, word(step));
      say(said, state === "ahead" ? " (to come)" : state === "skipped" ? " (not needed)" : "");
      say(time, !at ? "" : index === 0 ? clock(at) : `+${took(Date.parse(at) - start)}`);
    };
    return item;
  });
}

function momentItem() {
  const time = el("time");
  const what = chip();
  const text = el("span");
  const code = el("code");
  const item = el("li", {}, time, what, el("p", {}, text, " ", code));
  item.update = ({ moment }) => {
    mark(time, "datetime", moment.at);
    mark(time, "title", new Date(moment.at).toLocaleString());
    say(time, clock(moment.at));
    what.set(word(moment.step), STOPS.has(moment.step) ? tone(moment.step) : "plain");
    say(text, moment.text);
    say(code, moment.code ?? "");
    code.hidden = !moment.code;
  };
  return item;
}

function resultItem(open) {
  const kind = el("span", { class: "kind" });
  const outcome = chip();
  const summary = el("p", { class: "summary" });
  const model = el("p", { class: "muted small" });
  const delivery = el("ul", { class: "delivery" });
  const shot = picture(open);
  const item = el("li", {}, shot, el("div", {}, el("p", { class: "result-head" }, kind, outcome), summary, model, delivery));
  item.update = ({ result, index }) => {
    say(kind, result.kind);
    outcome.set(word(result.outcome), tone(result.outcome));
    say(summary, result.summary);
    say(model, result.model);
    keyed(delivery, result.delivery, ([destination]) => destination, () => {
      const state = chip();
      const to = el("span");
      const line = el("li", {}, to, state);
      line.update = ([destination, name]) => {
        say(to, destination);
        state.set(word(name), tone(name));
      };
      return line;
    });
    shot.hidden = !result.preview;
    if (result.preview) shot.update({ result, index });
  };
  return item;
}

function picture(open) {
  const image = el("img", { alt: "", loading: "lazy", decoding: "async" });
  const button = el("button", { type: "button", class: "shot" }, image);
  let at = 0;
  button.addEventListener("click", () => open(at));
  button.update = ({ result, index }) => {
    at = index;
    mark(image, "src", result.preview);
    mark(button, "aria-label", `Enlarge the preview: ${result.kind}, ${result.summary}`);
  };
  return button;
}
