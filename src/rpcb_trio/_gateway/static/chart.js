// The last batches of a queue: a bar for each, its height the batch's size, its colour why the batch was closed.

import { el, milliseconds } from "./dom.js";

const SLOTS = 60;

export const TRIGGERS = {
  idle: "an executor was idle",
  callers: "the callers just answered were back",
  size: "the batch was full",
  wait: "its time to wait was over",
  deadline: "a request's deadline was near",
  cost: "no further request fitted",
  flush: "the worker was draining",
  alone: "a request that may have killed a worker runs alone",
};

/** Draw the bars of `queue` into `place`. */
export function chart(place, queue) {
  const { batches } = queue;
  const largest = Math.max(4, ...batches.map((each) => each.size));
  if (place.children.length === 0) place.append(...scaffold());
  const [scale, bars] = place.children;
  scale.replaceChildren(el("span", {}, String(largest)), el("span", {}, "0"));
  bars.setAttribute("aria-label", inWords(batches));
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const batch = batches[batches.length - SLOTS + slot];
    const bar = bars.children[slot];
    bar.className = batch ? `bar t-${batch.trigger}${batch.failed ? " failed" : ""}` : "bar";
    bar.style.height = batch ? `${(100 * batch.size) / largest}%` : "0";
    bar.title = batch ? inShort(batch) : "";
  }
}

function scaffold() {
  const bars = el("div", { className: "bars", role: "img" });
  for (let slot = 0; slot < SLOTS; slot += 1) bars.append(el("i"));
  return [el("div", { className: "scale", "aria-hidden": "true" }), bars];
}

/** The same as a table, the newest first. */
export function listing(place, { batches }) {
  const head = ["Size", "Closed by", "Longest wait", "Computing", "Total", "Failed"];
  const rows = batches.slice().reverse().map((each) => [
    each.size,
    each.trigger,
    milliseconds(each.wait_max_ms),
    milliseconds(each.service_ms),
    milliseconds(each.total_ms),
    each.failed || "",
  ]);
  place.replaceChildren(el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...head.map((each) => el("th", { scope: "col" }, each)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((each) => el("td", {}, String(each)))))),
  ));
}

function inShort({ size, trigger, wait_max_ms: wait, service_ms: service }) {
  return `${size} request${size > 1 ? "s" : ""}, closed by ${trigger}; waited up to ${milliseconds(wait)}, computed in ${milliseconds(service)}`;
}

function inWords(batches) {
  if (batches.length === 0) return "No batches yet";
  const sizes = batches.map((each) => each.size);
  const counts = Object.keys(TRIGGERS)
    .map((trigger) => [trigger, batches.filter((each) => each.trigger === trigger).length])
    .filter(([, count]) => count > 0);
  const closed = counts.map(([trigger, count]) => `${count} by ${trigger}`).join(", ");
  const range = `${Math.min(...sizes)} to ${Math.max(...sizes)}`;
  return `The last ${batches.length} batches: of ${range} requests; closed ${closed}`;
}
