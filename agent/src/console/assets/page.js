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
  ["receiving", "Receiving"], ["received", "Received"], ["complete", "Complete"], ["routed", "Routed"],
  ["running", "Running"], ["done", "Done"], ["delivered", "Delivered"], ["refused", "Refused"], ["lacking", "Instances refused"], ["failed", "Failed"],
  ["held", "Held"], ["kept", "Kept here"], ["waiting", "Waiting"], ["dead", "Given up"], ["superseded", "Superseded"], ["recalled", "Recalled"], ["active", "Active"], ["checking", "Checking"],
  ["off", "Off"], ["shadow", "Shadow"], ["research", "Research"], ["clinical", "Clinical"], ["finding", "Finding"],
  ["no-finding", "No finding"], ["not-applicable", "Not applicable"], ["too-late", "Too late"],
]);

const TONES = new Map([
  ["receiving", "busy"], ["running", "busy"], ["checking", "busy"], ["done", "sea"],
  ["delivered", "good"], ["active", "good"], ["no-finding", "plain"], ["finding", "note"],
  ["held", "warn"], ["recalled", "warn"], ["lacking", "warn"], ["refused", "warn"], ["too-late", "warn"], ["research", "warn"],
  ["failed", "bad"], ["dead", "bad"],
]);

export const word = (name) => WORDS.get(name) ?? name;
export const tone = (name) => TONES.get(name) ?? "plain";

/** DICOM person name to a readable one: `Sørensen^Åse^^Dr` is "Sørensen, Åse". */
export function person(name) {
  const [family = "", given = "", middle = ""] = (name.split("=")[0] || "").split("^").map((part) => part.trim());
  return [family, [given, middle].filter(Boolean).join(" ")].filter(Boolean).join(", ") || "No name";
}

/** A duration in milliseconds, in the largest unit that says enough. */
export function took(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const clock = (at) => new Date(at).toLocaleTimeString("da-DK", { hour12: false }).replaceAll(".", ":");

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

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) [n, unit] = [n / 1000, unit + 1];
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
