// What the parts of the page share: elements, keyed lists, words and times. Text goes in as text, never as markup.

/** An element with attributes and children; strings become text nodes. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Sets text only where it changed: screen readers and selections stay undisturbed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute only where it changed; null removes it. */
export function mark(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Makes `list` show `items` in order, one element for each key. Elements stay the same over updates, and so do focus,
 * scroll and what is open. `make(item)` gives an element with `update(item)`.
 */
export function keyed(list, items, key, make) {
  const before = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = before.get(name);
    before.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    child.update?.(item);
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
  }
  for (const gone of before.values()) gone.remove();
}

/** A label with a tone and a shape, so that colour is never the only sign. */
export function chip() {
  const element = el("span", { class: "chip" });
  element.set = (text, tone) => {
    say(element, text);
    mark(element, "data-tone", tone);
  };
  return element;
}

const WORDS = new Map([
  ["waiting-for-approval", ["Waits for an approver", "warn"]], ["ready", ["Ready", "sea"]], ["running", ["Running", "busy"]],
  ["paused", ["Paused", "warn"]], ["finished", ["Finished", "good"]], ["stopped", ["Stopped", "plain"]],
  ["scheduled", ["Later", "plain"]], ["offered", ["Offered", "sea"]], ["taken", ["At work", "busy"]], ["canceling", ["Being taken back", "warn"]],
  ["failed", ["Failed", "bad"]], ["silent", ["Silent", "bad"]], ["canceled", ["Taken back", "plain"]],
]);

export const word = (name) => WORDS.get(name)?.[0] ?? name;
export const tone = (name) => WORDS.get(name)?.[1] ?? "plain";

/** A duration in milliseconds, in the largest unit that says enough. */
export function took(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** A `time` element that counts on by itself, see `tick`. */
export function ago() {
  const element = el("time", { "data-ago": "" });
  element.set = (at) => {
    mark(element, "datetime", at);
    mark(element, "title", new Date(at).toLocaleString());
    say(element, since(at));
  };
  return element;
}

function since(at) {
  const ms = Date.now() - Date.parse(at);
  return ms < 5000 ? "just now" : `${took(ms)} ago`;
}

export function tick() {
  for (const element of document.querySelectorAll("time[data-ago]")) say(element, since(element.dateTime));
}

export const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
