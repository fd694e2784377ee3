// By whose certificates the boxes are known: one bar for the boxes, one row for each authority of the channel.
import { chip, count, el, keyed, mark, say } from "./page.js";

/** Whether an authority counts: its word, its tone, and what that means. */
const COUNTS = {
  issues: ["Issues", "good"],
  good: ["Counts still", "sea"],
  waits: ["Waits for signatures", "plain"],
  dropped: ["Dropped", "bad"],
};

const holders = (boxes) => count(boxes, "box or mirror", "boxes and mirrors");

function row() {
  const name = el("strong");
  const state = chip();
  const until = el("span");
  const held = el("p");
  const unknown = el("p");
  const leaves = el("p", { class: "why", "data-tone": "warn" });
  const item = el("li", {}, el("div", { class: "row" }, el("div", {}, name, until), el("div", { class: "right" }, state)), held, unknown, leaves);
  for (const line of [until, held, unknown]) line.classList.add("muted", "small");
  item.update = (it) => {
    const [word, tone] = COUNTS[it.counts];
    say(name, it.name);
    state.set(word, tone);
    say(until, `until ${new Date(it.until).toLocaleDateString("en-GB", { dateStyle: "medium" })}${it.serves ? ", the server is known by it" : ""}`);
    mark(item, "title", `SHA-256 ${it.sha256}`);
    say(held, `${holders(it.held_by)} ${it.held_by === 1 ? "has" : "have"} a certificate of it`);
    const counts = it.counts === "issues" || it.counts === "good";
    unknown.hidden = !counts || it.unknown_to === 0;
    say(unknown, `${holders(it.unknown_to)} ${it.unknown_to === 1 ? "has" : "have"} not said yet to know it`);
    leaves.hidden = !it.leaves_with;
    say(leaves, `${it.leaves_with} waits for signatures to drop it`);
  };
  return item;
}

/** Draws them into a bar and a list. */
export function drawAuthorities(bar, list, authorities) {
  const holding = authorities.filter((it) => it.held_by > 0);
  bar.hidden = holding.length === 0;
  keyed(bar, holding, (it) => it.sha256, () => {
    const part = el("span");
    part.update = (it) => {
      mark(part, "data-tone", COUNTS[it.counts][1]);
      part.style.flex = `${it.held_by} 1 0`;
    };
    return part;
  });
  mark(bar, "aria-label", holding.map((it) => `${it.name}: ${holders(it.held_by)}`).join(", "));
  keyed(list, authorities, (it) => it.sha256, row);
}
