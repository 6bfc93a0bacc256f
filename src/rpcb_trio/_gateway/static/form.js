// The form of a service, from the gateway's description of it.

import { capital, el } from "./dom.js";
import { fileField } from "./files.js";

const BODY = { name: "body", type: "body", required: false, help: "It reaches the service as it is." };

/** What a person may choose from: each of the routes, and one choice that sends bytes to any queue. */
export function servicesOf({ routes, rpc, rpc_any: any }) {
  const services = routes.map((route) => ({ ...route, fields: route.fields.length > 0 ? route.fields : [BODY] }));
  if (rpc.length === 0 && !any) return services;
  const name = { name: "name", type: "text", required: true, help: any ? "A route, or a queue that the gateway may reach." : "" };
  const choice = any ? { ...name, suggestions: rpc } : { ...name, choices: rpc };
  return [...services, { name: "rpc", path: "/rpc/", method: "POST", summary: "Bytes in, bytes out", fields: [choice, BODY] }];
}

/** The fields as elements, and what to read and fill them with; page modules get it, too. */
export function formOf(service, problem) {
  const made = service.fields.map((field) => ({ field, ...controlOf(field) }));
  return {
    elements: made.map((each) => each.element),
    /** { field, input, element, value(), set(), buttons (of a file) } of each field, or of one. */
    fields: made,
    field: (name) => made.find(({ field }) => field.name === name),
    /** Show a sentence as a problem; null for none. */
    problem,
    /** What `ask` takes. */
    request: () => requestOf(service, made),
    /** The values as they are now, by name. */
    values: () => valuesOf(made),
    /** Point at a field that is wrong. */
    blame(name) {
      const wrong = made.find(({ field }) => field.name === name);
      wrong?.input.setAttribute("aria-invalid", "true");
      wrong?.input.focus();
    },
    forgive: () => made.forEach(({ input }) => input.removeAttribute("aria-invalid")),
  };
}

const valuesOf = (made) => Object.fromEntries(made.map(({ field, value }) => [field.name, value()]));

function requestOf(service, made) {
  const { path, method, envelope } = service;
  const values = valuesOf(made);
  if (made.some(({ field }) => field.type === "body")) {
    const whole = service.name === "rpc" ? path + encodeURIComponent(values.name) : path;
    const type = values.body instanceof Blob ? values.body.type || "application/octet-stream" : "text/plain";
    return { path: whole, method, body: values.body, headers: { "content-type": type } };
  }
  const body = new FormData();
  for (const [name, value] of Object.entries(values)) if (value !== undefined) body.append(name, value);
  return { path, method, body, envelope };
}

function controlOf(field) {
  const id = `field-${field.name}`;
  if (field.type === "file") return fileField(field, id);
  if (field.type === "body") return bodyField(field, id);
  if (field.type === "boolean") return booleanField(field, id);
  const input = field.choices ? choiceOf(field, id) : textOf(field, id);
  const list = field.suggestions && el("datalist", { id: `${id}-list` }, ...field.suggestions.map((each) => el("option", { value: each })));
  if (list) input.setAttribute("list", list.id);
  const set = (text) => { input.value = text; };
  const sample = field.sample && el("button", { type: "button", className: "plain", onclick: () => set(field.sample) }, "Try a sample");
  return { input, element: labelled(field, id, input, list, sample), set, value: () => (input.value === "" ? undefined : input.value) };
}

function textOf(field, id) {
  const type = { integer: "number", number: "number" }[field.type] ?? "text";
  const input = el("input", { id, type, required: field.required, value: field.default ?? "", autocomplete: "off" });
  if (type === "text") Object.assign(input, { spellcheck: false, autocapitalize: "off" });
  if (field.type === "number") input.step = "any";
  return input;
}

function choiceOf(field, id) {
  const options = field.choices.map((each) => el("option", { value: each }, each));
  if (!field.required && field.default === undefined) options.unshift(el("option", { value: "" }, "–"));
  const input = el("select", { id, required: field.required }, ...options);
  if (field.default !== undefined) input.value = field.default;
  return input;
}

function booleanField(field, id) {
  const input = el("input", { id, type: "checkbox", checked: field.default === true });
  const element = el("p", { className: "field check" }, input, el("label", { for: id }, field.name), helpOf(field, id, input));
  return { input, element, set: (isOn) => { input.checked = isOn; }, value: () => String(input.checked) };
}

function bodyField(field, id) {
  const input = el("textarea", { id, rows: 5, spellcheck: false });
  const file = fileField({ name: "a file in its place", type: "file", label: "Or a file" }, `${id}-file`);
  const element = el("div", {}, labelled(field, id, input), file.element);
  return { input, element, set: (text) => { input.value = text; }, value: () => file.input.files[0] ?? input.value };
}

function labelled(field, id, input, ...more) {
  const optional = field.required ? null : el("span", { className: "quiet" }, " optional");
  const label = el("label", { for: id }, capital(field.name), field.type === "body" || field.default !== undefined ? null : optional);
  return el("p", { className: "field" }, label, input, helpOf(field, id, input), ...more.filter(Boolean));
}

function helpOf(field, id, input) {
  if (!field.help) return null;
  input.setAttribute("aria-describedby", `${id}-help`);
  return el("small", { id: `${id}-help`, className: "quiet" }, field.help);
}
