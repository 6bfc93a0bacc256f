// The page of speech services: a recorder in the form; transcripts, players and spectrograms in the answer.

import { isMap } from "../../answer.js";
import { capital, el } from "../../dom.js";
import { players } from "./players.js";
import { recordButton } from "./recorder.js";

const TITLES = { plain: "As recorded", enhanced: "Enhanced", clear: "After enhancement" };

/** Called by the gateway's page each time the route is chosen; docs/how-to/gateway.md describes the arguments. */
export function mount(form, result) {
  addStylesheet();
  for (const { field, input, buttons, set } of form.fields) {
    if (!field.accept?.startsWith("audio")) continue;
    buttons.append(recordButton(set, form.problem));
    input.addEventListener("change", () => {
      const suffix = input.files[0]?.name.match(/\.([a-z0-9]{1,5})$/i)?.[1];
      if (suffix) form.field("format")?.set(suffix.toLowerCase());
    });
  }
  result.titles = TITLES;
  result.show = ({ value }, sent) => (isMap(value) ? speechView(value, sent, result) : null);
}

async function speechView(value, sent, result) {
  const isOne = "sentence" in value || "url" in value;
  if (!isOne && !Object.values(value).every(isMap)) return null;
  const sounds = [];
  const views = isOne ? [await partView(value, sounds, result)] : await Promise.all(Object.entries(value).map(async ([name, part]) => (
    el("section", { className: "part" }, el("h3", {}, TITLES[name] ?? capital(name)), await partView(part, sounds, result))
  )));
  const audio = Object.values(sent).find((each) => each instanceof File);
  const originals = audio ? [{ name: "Original", blob: audio }] : [];
  if (sounds.length > 0) views.push(await players([...originals, ...sounds]));
  return el("div", {}, ...views);
}

async function partView(part, sounds, result) {
  if (isMap(part.problem)) return result.problem({ ...part.problem, remedy: "" });
  if (typeof part.sentence === "string") {
    if (part.sentence === "") return el("p", { className: "empty" }, "No words were recognised.");
    return Array.isArray(part.segments) ? timedView(part.segments) : el("p", { className: "sentence" }, part.sentence);
  }
  const blob = await result.file(part.url);
  if (blob === null) return result.value(part);
  sounds.push({ name: "Enhanced", blob });
  const seconds = Number(part.duration);
  return seconds > 0 ? el("p", { className: "quiet" }, `${seconds.toFixed(1)} s of speech, with less noise.`) : el("p", {});
}

function timedView(segments) {
  const lines = segments.map(({ start, end, text }) => el("li", { className: "sentence" }, el("time", { title: `to ${clock(end)}` }, clock(start)), String(text)));
  return el("ol", { className: "timed" }, ...lines);
}

function clock(seconds) {
  const whole = Math.floor(Number(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const parts = hours > 0 ? [hours, String(minutes).padStart(2, "0")] : [minutes];
  return [...parts, String(whole % 60).padStart(2, "0")].join(":");
}

function addStylesheet() {
  const href = new URL("speech.css", import.meta.url).href;
  if (![...document.styleSheets].some((each) => each.href === href)) document.head.append(el("link", { rel: "stylesheet", href }));
}
