// What a service answered, for people: text, numbers, tables, lists, images, sounds; and always the JSON itself.

import { capital, el, milliseconds, root, sizeOf } from "./dom.js";

const KEPT = /\/(files\/[\w-]{32}\.[a-z0-9]{1,8})$/;
const MOST = 100000; // characters of a text that are shown
const LONG = 400; // characters without a blank: bytes in base64, which a file beside them shows better
const SHORT = 60; // characters
const MOST_ROWS = 100;
const DEEPEST = 4; // levels of JSON that are laid out; deeper ones are shown as JSON

/** An answer as elements: { value } of JSON, or { blob }. `own` is a page module's view of it, if it has one. */
export async function answerView(result, own, titles) {
  const body = own ?? (result.blob ? await blobView(result.blob) : await valueView(result.value));
  const isLaidOut = !result.blob && result.value !== null && typeof result.value === "object";
  const json = isLaidOut ? el("details", { className: "json" }, el("summary", {}, "As JSON"), jsonView(result.value)) : null;
  return [body, el("p", { className: "quiet facts" }, factsOf(result, titles)), json].filter(Boolean);
}

/** A problem as an element. */
export function problemView(problem) {
  const detail = plain(problem.detail ?? "");
  const lines = [detail && capital(detail).replace(/\.?$/, "."), problem.remedy].filter(Boolean);
  return el(
    "div",
    { className: "problem" },
    el("h3", {}, plain(problem.title ?? "It did not work")),
    ...lines.map((line) => el("p", {}, line)),
    problem.said ? el("p", {}, "The service said: ", el("q", {}, plain(problem.said))) : null,
    problem.id ? el("p", { className: "quiet" }, "Request id, for the log: ", el("code", {}, problem.id)) : null,
  );
}

/** Any JSON as an element. */
export async function valueView(value, depth = 0) {
  if (typeof value === "string") return textView(value);
  if (value === null || typeof value !== "object") return el("p", { className: "sentence" }, plain(value));
  if (depth >= DEEPEST) return jsonView(value);
  if (Array.isArray(value)) return listView(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return el("p", { className: "empty" }, "An empty object.");
  const rows = entries.filter(([, each]) => isShort(each)).map(([key, each]) => rowOf(key, each));
  const parts = await Promise.all(entries.filter(([, each]) => !isShort(each)).map(([key, each]) => partView(key, each, depth)));
  return el("div", {}, rows.length > 0 ? el("dl", { className: "rows" }, ...rows) : null, ...parts);
}

/** A file that the gateway keeps for an answer, by its URL; null where there is none. */
export async function fileOf(url) {
  const kept = typeof url === "string" ? url.match(KEPT)?.[1] : undefined;
  if (!kept) return null;
  const response = await fetch(new URL(kept, root)); // the URL's own origin may be another name of this one
  return response.ok ? response.blob() : null;
}

export const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const isPlain = (value) => value === null || typeof value !== "object";

/** Whether a value goes into a row beside others; longer texts and files get a part of their own. */
function isShort(value) {
  if (Array.isArray(value)) return value.length > 0 && value.every(isPlain) && value.join(", ").length <= SHORT;
  if (typeof value !== "string") return isPlain(value);
  return isPacked(value) || (value.length <= SHORT && !value.includes("\n") && !KEPT.test(value));
}

const rowOf = (key, value) => el("div", {}, el("dt", {}, capital(key)), el("dd", {}, Array.isArray(value) ? value.join(", ") : plain(shortened("", value))));

async function partView(key, value, depth) {
  const body = isMap(value) && isMap(value.problem) ? problemView({ ...value.problem, remedy: "" }) : await valueView(value, depth + 1);
  return el("section", { className: "part" }, el("h3", {}, capital(key)), body);
}

/** A table, where all items are objects, or all are lists of plain values; else JSON. */
function listView(items) {
  if (items.length === 0) return el("p", { className: "empty" }, "An empty list.");
  const isTable = items.every(isMap) || items.every((each) => Array.isArray(each) && each.every(isPlain));
  if (!isTable) return jsonView(items);
  const shown = items.slice(0, MOST_ROWS);
  const columns = [...new Set(shown.flatMap((each) => Object.keys(each)))];
  const heads = items.every(isMap) ? [el("thead", {}, el("tr", {}, ...columns.map((each) => el("th", { scope: "col", className: kindOf(shown[0][each]) }, capital(each)))))] : [];
  const rows = shown.map((each) => el("tr", {}, ...columns.map((key) => cellOf(each[key]))));
  const more = items.length > MOST_ROWS ? el("p", { className: "quiet" }, `${items.length} rows in all; the JSON has more of them.`) : null;
  const table = el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "The answer as a table" }, el("table", {}, ...heads, el("tbody", {}, ...rows)));
  return el("div", {}, table, more);
}

const kindOf = (value) => (typeof value === "number" ? "number" : "");

function cellOf(value) {
  return el("td", { className: kindOf(value) }, value === undefined ? "" : plain(shortened("", value)));
}

async function textView(value) {
  if (KEPT.test(value)) {
    const blob = await fileOf(value);
    return blob === null ? el("p", { className: "empty" }, "The file is no longer kept.") : blobView(blob);
  }
  if (value === "") return el("p", { className: "empty" }, "An empty text.");
  return value.includes("\n") ? el("pre", {}, clipped(value)) : el("p", { className: "sentence" }, plain(shortened("", value)));
}

/** An image or a sound, or a text; other bytes to be saved. */
async function blobView(blob) {
  const url = URL.createObjectURL(blob);
  if (blob.type.startsWith("image/")) return el("img", { src: url, alt: "The answer" });
  if (blob.type.startsWith("audio/")) return el("audio", { controls: true, src: url, "aria-label": "The answer" });
  const text = blob.size < MOST ? await readable(blob) : null;
  if (text === "") return el("p", { className: "empty" }, "An empty answer.");
  if (text !== null) return el("pre", {}, text);
  return el("p", {}, el("a", { href: url, download: "answer", className: "button" }, `Save the answer (${sizeOf(blob.size)})`));
}

const jsonView = (value) => el("pre", {}, clipped(JSON.stringify(value, shortened, 2)));

function factsOf({ milliseconds: took, batches, id }, titles) {
  const one = batches.length === 1 && batches[0].name === null;
  const sizes = one ? (batches[0].size === 1 ? ", in a batch of its own" : `, in a batch of ${batches[0].size}`) : "";
  const each = batches.length > 0 && !one ? `, in batches of ${batches.map(({ name, size }) => `${size} (${titles[name] ?? name})`).join(", ")}` : "";
  const unknown = batches.length === 0 ? "; the worker does not say in how large a batch (it would with --batch-headers)" : "";
  return `Answered in ${milliseconds(took)}${sizes}${each}${unknown}.${id ? ` Request id ${id}.` : ""}`;
}

const clipped = (text) => (text.length > MOST ? `${text.slice(0, MOST)}… (${text.length} characters in all)` : text);

/** Anything as a text, for a service may answer anything. */
const plain = (value) => clipped(typeof value === "object" ? JSON.stringify(value, shortened) : String(value));

const isPacked = (value) => typeof value === "string" && value.length > LONG && !/\s/.test(value);

const shortened = (_, value) => (isPacked(value) ? `${value.slice(0, 16)}… (${value.length} characters)` : value);

/** The bytes as a text; null where they are none. */
async function readable(blob) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await blob.arrayBuffer());
  } catch {
    return null;
  }
}
