// A field for a file: dropped, chosen, or recorded where it is a sound.

import { el, replace, sizeOf } from "./dom.js";
import { LONGEST, record } from "./recorder.js";

/** The field as an element; `tell` is given what goes wrong with the microphone. */
export function fileField(field, id, tell) {
  const isSound = field.accept?.startsWith("audio") ?? false;
  const input = el("input", { id, type: "file", className: "hidden-input", required: field.required ?? false });
  if (field.accept) input.accept = field.accept;
  const preview = el("div", { className: "chosen", "aria-live": "polite" });
  const name = field.label ?? field.name.charAt(0).toUpperCase() + field.name.slice(1);
  const buttons = el("div", { className: "drop-buttons" }, input, el("label", { for: id, className: "button" }, "Choose a file"));
  if (isSound) buttons.append(recordButton(input, tell));
  const element = el(
    "div",
    { className: "drop", role: "group", "aria-label": `${name}${field.required ? "" : " (optional)"}` },
    el("p", { className: "drop-title" }, name),
    buttons,
    el("p", { className: "quiet" }, field.help || "or drop it here"),
    preview,
  );
  input.addEventListener("change", () => show(input, preview, isSound));
  takeDrops(element, input);
  return { input, element, value: () => input.files[0] };
}

/** Put a file into a field, as if it had been chosen. */
function choose(input, file) {
  const transfer = new DataTransfer();
  if (file) transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change"));
}

function show(input, preview, isSound) {
  const [file] = input.files;
  replace(preview);
  if (!file) return;
  const remove = el("button", { type: "button", className: "plain", "aria-label": `Remove ${file.name}` }, "Remove");
  remove.addEventListener("click", () => {
    choose(input, null);
    input.focus();
  });
  preview.append(el("p", {}, el("strong", {}, file.name), el("span", { className: "quiet" }, ` ${sizeOf(file.size)} `), remove));
  if (isSound) preview.append(el("audio", { controls: true, src: URL.createObjectURL(file), "aria-label": "What will be sent" }));
}

function takeDrops(element, input) {
  const mark = (isOver) => (event) => {
    event.preventDefault();
    element.classList.toggle("over", isOver);
  };
  element.addEventListener("dragover", mark(true));
  element.addEventListener("dragleave", mark(false));
  element.addEventListener("drop", (event) => {
    mark(false)(event);
    if (event.dataTransfer.files.length > 0) choose(input, event.dataTransfer.files[0]);
  });
}

function recordButton(input, tell) {
  const button = el("button", { type: "button", className: "record", "aria-pressed": "false" }, "Record");
  let recording = null;
  const end = async () => {
    const ending = recording;
    recording = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Record";
    choose(input, await ending.stop());
  };
  const begin = async () => {
    button.disabled = true;
    try {
      recording = await record((seconds) => {
        if (recording === null) return;
        button.textContent = `Stop (${seconds.toFixed(0)} s)`;
        if (seconds >= LONGEST || !button.isConnected) end(); // the form may be another by now
      });
      button.textContent = "Stop (0 s)";
      button.setAttribute("aria-pressed", "true");
      tell(null);
    } catch (error) {
      tell(error.message);
    } finally {
      button.disabled = false;
      button.focus();
    }
  };
  button.addEventListener("click", () => (recording === null ? begin() : end()));
  return button;
}
