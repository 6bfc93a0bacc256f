// The page: choose a service, ask it, read the answer, and watch the batches.

import { answerView, fileOf, problemView, valueView } from "./answer.js";
import { ask, curlOf, Problem } from "./asking.js";
import { byId, el, milliseconds, replace, root } from "./dom.js";
import { formOf, servicesOf } from "./form.js";
import { watch } from "./live.js";

const MANY = 10;
const READINESS_EVERY = 5000; // milliseconds

const modules = new Map(); // of routes' own page modules, by path
let service, form, result;
let going = null;

async function start() {
  const described = await (await fetch(new URL("static/routes.json", root))).json();
  const services = servicesOf(described);
  await Promise.all(services.filter((each) => each.page).map(load));
  byId("services").append(...services.map(choice));
  if (services.length > 0) choose(services[0]);
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (going) going.abort();
    else send(1);
  });
  byId("send-many").addEventListener("click", () => byId("ask").reportValidity() && send(MANY));
  byId("curl").addEventListener("click", copyCommand);
  followReadiness();
  watch(described.live);
}

/** Import a route's page module; without it the page shows the route as any other. */
async function load({ page }) {
  try {
    modules.set(page, await import(new URL(page, root)));
  } catch (error) {
    console.error(error);
  }
}

function choice(each, index) {
  const radio = el("input", { type: "radio", name: "service", id: `service-${index}`, checked: index === 0 });
  radio.addEventListener("change", () => choose(each));
  const [title, more] = each.summary.split(/:\s(.*)/s);
  const path = each.name === "rpc" ? "/rpc/NAME" : each.path;
  const text = el("span", {}, el("strong", {}, title), el("code", {}, path), more ? el("small", { className: "quiet" }, more) : null);
  return el("label", { className: "service" }, radio, text);
}

function choose(chosen) {
  service = chosen;
  form = formOf(service, (detail) => showProblem(detail && { title: "That does not work here", detail, remedy: "" }));
  result = { show: () => null, titles: {}, value: valueView, problem: problemView, file: fileOf };
  replace(byId("fields"), ...form.elements);
  attempt(() => modules.get(service.page)?.mount?.(form, result, service));
  byId("command").hidden = true;
  showProblem(null);
}

async function send(copies) {
  const { request, values } = form;
  const { show, titles } = result;
  going = new AbortController();
  busy(true, copies);
  showProblem(null);
  form.forgive();
  try {
    const sent = values();
    const results = await asked(copies, request(), going.signal);
    const last = results.at(-1);
    replace(byId("answer"), ...(await answerView(last, await attempt(() => show(last, sent)), titles)));
    byId("progress").textContent = copies > 1 ? summary(results) : "";
  } catch (error) {
    byId("progress").textContent = error.name === "AbortError" ? "Cancelled." : "";
    if (error.name !== "AbortError") fail(error);
  } finally {
    going = null;
    busy(false, copies);
    bringIntoView(byId("answer-card"));
  }
}

/** Call a page module, which must not break the page. */
async function attempt(call) {
  try {
    return await call();
  } catch (error) {
    console.error(error);
    return null;
  }
}

/** Scroll if the beginning of an element can't be seen. */
function bringIntoView(element) {
  const { top } = element.getBoundingClientRect();
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (top < 0 || top > innerHeight / 2) element.scrollIntoView({ block: "start", behavior: isCalm ? "instant" : "smooth" });
}

async function copyCommand() {
  const command = byId("command");
  command.textContent = curlOf(form.request());
  command.hidden = false;
  try {
    await navigator.clipboard.writeText(command.textContent);
    byId("progress").textContent = "Copied.";
  } catch {
    byId("progress").textContent = "The browser does not let this page copy. Copy the command from here:";
  }
}

/** All answers to copies of a request; those that failed are left out, unless none is left. */
async function asked(copies, request, signal) {
  const outcomes = await Promise.allSettled(Array.from({ length: copies }, () => ask(request, signal)));
  const results = outcomes.filter((each) => each.status === "fulfilled").map((each) => each.value);
  if (results.length === 0) throw outcomes[0].reason;
  return results;
}

function summary(results) {
  const times = results.map((each) => each.milliseconds).sort((a, b) => a - b);
  const failed = MANY - results.length;
  const sizes = [...new Set(results.flatMap(({ batches }) => batches.map(({ size }) => size)))].sort((a, b) => a - b);
  const middle = times[Math.floor(times.length / 2)];
  return `${results.length} answers${failed ? `, ${failed} failed` : ""}: half of them within ${milliseconds(middle)}, the slowest in ${milliseconds(times.at(-1))}${sizes.length > 0 ? `; batches of ${sizes.join(", ")}` : ""}.`;
}

function fail(error) {
  const problem = error instanceof Problem ? error : { title: "The page itself failed", detail: "Load it again, please.", remedy: "" };
  if (!(error instanceof Problem)) console.error(error);
  showProblem(problem);
  if (error.field) form.blame(error.field);
}

function showProblem(problem) {
  byId("problem").replaceChildren(...(problem ? [problemView(problem)] : []));
  if (problem) replace(byId("answer"));
}

function busy(isBusy, copies) {
  byId("send").textContent = isBusy ? "Cancel" : "Send";
  byId("send-many").disabled = isBusy;
  byId("answer").setAttribute("aria-busy", String(isBusy));
  if (isBusy) byId("progress").textContent = copies > 1 ? `${copies} requests are on their way…` : "On its way…";
}

function followReadiness() {
  const pill = byId("readiness");
  const show = (state, text) => {
    pill.dataset.state = state;
    if (pill.textContent !== text) pill.textContent = text;
  };
  const look = async () => {
    if (document.hidden) return;
    try {
      const { ready, draining } = await (await fetch(new URL("readyz", root))).json();
      if (ready) show("good", "Ready");
      else show("bad", draining ? "Draining" : "No broker");
    } catch {
      show("bad", "Offline");
    }
  };
  look();
  setInterval(look, READINESS_EVERY);
  document.addEventListener("visibilitychange", look);
}

start().catch(() => showProblem(new Problem(0)));
