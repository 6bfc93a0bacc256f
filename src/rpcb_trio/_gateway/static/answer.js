// What a service answered, as people read it: sentences large, sounds to be heard and seen, all else as a list.

import { el, milliseconds, root, sizeOf } from "./dom.js";
import { capital } from "./form.js";
import { players } from "./players.js";

const SENTENCE = ["sentence", "text", "transcript", "transcription"];
const KEPT = /\/(files\/[\w-]{32}\.[a-z0-9]{1,8})$/;
const MOST = 100000; // letters of a text that are shown
const LONG = 400; // letters without a blank: bytes in base64, which the file beside them shows better

/** An answer as elements; `sent` is the sound that was asked about, if it was one. */
export async function shown(result, sent) {
  const sounds = [];
  const body = result.blob ? await ofBlob(result.blob, sounds) : await ofValue(result.answer, "Answer", sounds);
  const heard = sounds.length > 0 ? [await players(sent ? [{ name: "Original", blob: sent }, ...sounds] : sounds)] : [];
  return [body, ...heard, el("p", { className: "quiet facts" }, factsOf(result))];
}

/** A problem as elements. */
export function told(problem) {
  const detail = plain(problem.detail ?? "");
  const lines = [detail && capital(detail).replace(/\.?$/, "."), problem.remedy].filter(Boolean);
  return el(
    "div",
    { className: "problem" },
    el("h3", {}, plain(problem.title ?? "It did not work")),
    ...lines.map((line) => el("p", {}, line)),
    problem.said ? el("p", {}, "The service said: ", el("q", {}, plain(problem.said))) : null,
    problem.id ? el("p", { className: "quiet" }, "In the log it is request ", el("code", {}, problem.id)) : null,
  );
}

function factsOf({ milliseconds: took, batchSize, id }) {
  const batch = batchSize === null ? "" : batchSize === 1 ? ", in a batch of its own" : `, in a batch of ${batchSize}`;
  return `Answered in ${milliseconds(took)}${batch}${id ? `. Request ${id}` : ""}.`;
}

async function ofValue(value, name, sounds) {
  if (typeof value === "string") return ofText(value, name, sounds);
  if (value === null || typeof value !== "object") return el("p", { className: "sentence" }, plain(value));
  if (Array.isArray(value)) return el("pre", {}, clipped(JSON.stringify(value, shortened, 2)));
  const entries = Object.entries(value);
  if (entries.length > 0 && entries.every(([, each]) => isMap(each))) return ofParts(entries, sounds);
  return ofMap(entries, name, sounds);
}

const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** A composite route's answer: one of its parts after the other. */
async function ofParts(entries, sounds) {
  const parts = await Promise.all(entries.map(async ([name, value]) => {
    const body = isMap(value.problem) ? told({ ...value.problem, remedy: "" }) : await ofValue(value, capital(name), sounds);
    return el("section", { className: "part" }, el("h3", {}, capital(name)), body);
  }));
  return el("div", {}, ...parts);
}

async function ofMap(entries, name, sounds) {
  const sentences = [];
  const rows = [];
  for (const [key, value] of entries) {
    if (SENTENCE.includes(key) && typeof value === "string") {
      sentences.push(value === "" ? el("p", { className: "empty" }, "No words.") : el("p", { className: "sentence" }, clipped(value)));
    } else if (typeof value === "string" && KEPT.test(value)) {
      rows.push(await ofText(value, name, sounds));
    } else if (!isHidden(value)) {
      rows.push(rowOf(key, value));
    }
  }
  if (sentences.length + rows.length === 0) rows.push(...entries.map(([key, value]) => rowOf(key, shortened(key, value))));
  const list = rows.filter(Boolean);
  return el("div", {}, ...sentences, list.length > 0 ? el("dl", { className: "rows" }, ...list) : null);
}

const rowOf = (key, value) => el("div", {}, el("dt", {}, capital(key)), el("dd", {}, plain(value)));

const clipped = (text) => (text.length > MOST ? `${text.slice(0, MOST)}… (${text.length} letters in all)` : text);

/** Anything as a text, for whoever answers says what is in it. */
const plain = (value) => clipped(typeof value === "object" ? JSON.stringify(value, shortened) : String(value));

const isHidden = (value) => typeof value === "string" && value.length > LONG && !/\s/.test(value);

const shortened = (_, value) => (isHidden(value) ? `${value.slice(0, 16)}… (${value.length} letters)` : value);

/** A sentence, or a file that the gateway keeps for the answer. */
async function ofText(value, name, sounds) {
  const kept = value.match(KEPT)?.[1];
  if (!kept) return el("p", { className: "sentence" }, plain(shortened("", value)));
  const response = await fetch(new URL(kept, root));
  if (!response.ok) return el("p", { className: "empty" }, "The answer's file is there no longer.");
  return ofBlob(await response.blob(), sounds, name);
}

async function ofBlob(blob, sounds, name = "Answer") {
  if (blob.type.startsWith("audio/")) {
    sounds.push({ name: sounds.length > 0 || name !== "Answer" ? name : "Enhanced", blob });
    return null;
  }
  const url = URL.createObjectURL(blob);
  if (blob.type.startsWith("image/")) return el("img", { src: url, alt: "The answer" });
  const text = blob.size < 100000 ? await readable(blob) : null;
  if (text !== null) return text === "" ? el("p", { className: "empty" }, "An empty answer.") : el("pre", {}, text);
  return el("p", {}, el("a", { href: url, download: "answer", className: "button" }, `Save the answer (${sizeOf(blob.size)})`));
}

/** The bytes as a text; null where they are none. */
async function readable(blob) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await blob.arrayBuffer());
  } catch {
    return null;
  }
}
