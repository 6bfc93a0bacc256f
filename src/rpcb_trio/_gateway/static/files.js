// A field for a file: dropped, chosen, or a sample of the deployment's.

import { capital, el, replace, root, sizeOf } from "./dom.js";

/** The field: its element, its input, its buttons (for more of them), and `set` to choose a file from a script. */
export function fileField(field, id) {
  const input = el("input", { id, type: "file", className: "hidden-input", required: field.required ?? false });
  if (field.accept) input.accept = field.accept;
  const preview = el("div", { className: "chosen", "aria-live": "polite" });
  const name = field.label ?? capital(field.name);
  const set = (file) => choose(input, file);
  const buttons = el("div", { className: "drop-buttons" }, input, el("label", { for: id, className: "button" }, "Choose a file"));
  if (field.sample) buttons.append(sampleButton(field.sample, set));
  const element = el(
    "div",
    { className: "drop", role: "group", "aria-label": `${name}${field.required ? "" : " (optional)"}` },
    el("p", { className: "drop-title" }, name),
    buttons,
    el("p", { className: "quiet" }, field.help || "or drop it here"),
    preview,
  );
  input.addEventListener("change", () => show(input, preview, field.accept));
  takeDrops(element, set);
  return { input, element, buttons, set, value: () => input.files[0] };
}

function sampleButton(path, set) {
  const button = el("button", { type: "button" }, "Try a sample");
  button.addEventListener("click", async () => {
    const url = new URL(path, root);
    const response = await fetch(url);
    const name = decodeURIComponent(url.pathname.split("/").at(-1));
    if (response.ok) set(new File([await response.blob()], name, { type: response.headers.get("content-type") ?? "" }));
  });
  return button;
}

/** Put a file into a field, as if it had been chosen. */
function choose(input, file) {
  const transfer = new DataTransfer();
  if (file) transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change"));
}

function show(input, preview, accept = "") {
  const [file] = input.files;
  replace(preview);
  if (!file) return;
  const remove = el("button", { type: "button", className: "plain", "aria-label": `Remove ${file.name}` }, "Remove");
  remove.addEventListener("click", () => {
    choose(input, null);
    input.focus();
  });
  preview.append(el("p", {}, el("strong", {}, file.name), el("span", { className: "quiet" }, ` ${sizeOf(file.size)} `), remove));
  const kind = file.type || accept; // browsers know no type for rarer files
  const given = () => ({ src: URL.createObjectURL(file), "aria-label": "What will be sent" });
  if (kind.startsWith("image/")) preview.append(el("img", given()));
  if (kind.startsWith("audio/")) preview.append(el("audio", { controls: true, ...given() }));
}

function takeDrops(element, set) {
  const mark = (isOver) => (event) => {
    event.preventDefault();
    element.classList.toggle("over", isOver);
  };
  element.addEventListener("dragover", mark(true));
  element.addEventListener("dragleave", mark(false));
  element.addEventListener("drop", (event) => {
    mark(false)(event);
    if (event.dataTransfer.files.length > 0) set(event.dataTransfer.files[0]);
  });
}
