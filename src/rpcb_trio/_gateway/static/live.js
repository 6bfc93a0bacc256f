// The live view: the workers' batches, as the gateway sums up their events several times a second.

import { byId, el, milliseconds, root, sizeOf } from "./dom.js";
import { chart, listing, TRIGGERS } from "./chart.js";

const AGAIN_AFTER = 5000; // milliseconds, after the gateway has refused
const panels = new Map();
let isPaused = false;
let source, again;

/** Watch, or say how to turn the events on. */
export function watch(isOn) {
  if (!isOn) {
    byId("queues").append(howTo());
    state("", "Off");
    return;
  }
  const pause = byId("live-pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Resume" : "Pause";
  });
  byId("queues").append(el("p", { className: "card empty" }, "No worker has published an event yet. Start one with the same events setting."));
  document.addEventListener("visibilitychange", follow);
  follow();
}

/** Take views while the page is visible: browsers open only six connections to an origin, for all its tabs. */
function follow() {
  clearTimeout(again);
  source?.close();
  if (document.hidden) return;
  source = new EventSource(new URL("events", root));
  source.addEventListener("message", ({ data }) => show(JSON.parse(data)));
  source.addEventListener("error", () => {
    state("bad", "Not connected");
    if (source.readyState === EventSource.CLOSED) again = setTimeout(follow, AGAIN_AFTER);
  });
}

function show(view) {
  if (isPaused) return;
  if (view.connected) state("good", "Live");
  else state("bad", "No broker");
  const names = new Set(view.queues.map((each) => each.summary.queue));
  for (const [name, panel] of panels) {
    if (!names.has(name)) {
      panel.element.remove();
      panels.delete(name);
    }
  }
  for (const queue of view.queues) panelOf(queue.summary.queue).show(queue);
  if (view.queues.length > 0) legend(view.queues);
}

function panelOf(name) {
  if (panels.size === 0) byId("queues").replaceChildren();
  if (!panels.has(name)) {
    panels.set(name, panel(name));
    byId("queues").append(panels.get(name).element);
  }
  return panels.get(name);
}

/** What is shown of one queue. */
function panel(name) {
  const id = `queue-${panels.size}-${name.replace(/[^\w-]/g, "-")}`;
  const numbers = el("dl", { className: "numbers" });
  const bars = el("div", { className: "chart" });
  const table = el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Last batches of ${name}` });
  const details = el("details", {}, el("summary", {}, "The batches as a table"), table);
  const workers = el("ul", { className: "workers", "aria-label": `Workers of ${name}` });
  const element = el("article", { className: "card", "aria-labelledby": id }, el("h3", { id }, name), numbers, bars, workers, details);
  let last = null;
  details.addEventListener("toggle", () => details.open && listing(table, last));
  return {
    element,
    show(queue) {
      last = queue;
      setNumbers(numbers, queue.summary);
      chart(bars, queue);
      workers.replaceChildren(...queue.workers.map(workerOf));
      if (details.open) listing(table, queue);
    },
  };
}

function setNumbers(list, queue) {
  const waiting = queue.waiting + (queue.ready ?? 0);
  const failed = queue.failed_in_a_minute;
  const times = (each) => (each ? `median; 95 % within ${milliseconds(each.p95)}` : "median");
  const shown = [
    ["Requests per second", rate(queue.requests_per_second), failed > 0 ? `${failed} failed in the last minute` : "mean of the last 10 s"],
    ["Requests waiting", String(waiting), queue.ready === null ? "in workers" : `${queue.ready} in the queue, ${queue.waiting} in workers`],
    ["Requests per batch", queue.mean_batch_size === null ? "–" : queue.mean_batch_size.toFixed(1), "mean of the last minute"],
    ["Time in the worker", milliseconds(queue.total?.p50), times(queue.total)],
    ["Wait for a batch", milliseconds(queue.wait?.p50), times(queue.wait)],
    ["Computing a batch", milliseconds(queue.service?.p50), times(queue.service)],
  ];
  if (list.children.length !== shown.length) {
    list.replaceChildren(...shown.map(() => el("div", {}, el("dt"), el("dd"), el("dd", { className: "quiet" }))));
  }
  shown.forEach((texts, index) => {
    texts.forEach((text, part) => {
      const place = list.children[index].children[part];
      if (place.textContent !== text) place.textContent = text;
    });
  });
}

const rate = (perSecond) => (perSecond >= 10 || perSecond === 0 ? perSecond.toFixed(0) : perSecond.toFixed(1));

function workerOf(worker) {
  const isGood = worker.condition === "consuming" && !worker.gone;
  const condition = worker.gone ? "gone" : worker.condition;
  const facts = [
    worker.device,
    `${worker.answered} answered${worker.failed ? `, ${worker.failed} failed` : ""}`,
    `batches of up to ${worker.max_batch_size}`,
    worker.rss === null ? null : sizeOf(worker.rss),
    worker.dropped ? `${worker.dropped} events lost` : null,
  ].filter(Boolean);
  return el(
    "li",
    {},
    el("span", { className: "pill", "data-state": isGood ? "good" : "bad" }, condition),
    el("span", {}, el("strong", {}, worker.worker), ` ${worker.host}:${worker.pid}`),
    el("span", { className: "quiet" }, [worker.reason, ...facts].filter(Boolean).join(" · ")),
  );
}

/** The triggers that the charts show now. */
function legend(queues) {
  const seen = new Set(queues.flatMap((each) => each.batches.map((batch) => batch.trigger)));
  const list = byId("legend");
  const keys = Object.keys(TRIGGERS).filter((each) => seen.has(each));
  list.hidden = keys.length === 0;
  if (list.dataset.keys === keys.join()) return;
  list.dataset.keys = keys.join();
  list.replaceChildren(...keys.map((each) => el("li", {}, el("i", { className: `key t-${each}` }), el("b", {}, each), ` ${TRIGGERS[each]}`)));
}

function state(kind, text) {
  const pill = byId("live-state");
  pill.dataset.state = kind;
  if (pill.textContent !== text) pill.textContent = text;
}

function howTo() {
  return el(
    "div",
    { className: "card empty" },
    el("p", {}, "The workers' events are off. To see batches form, name an exchange for the events, the same for worker and gateway:"),
    el("pre", {}, "rpcb-trio serve … --events rpcb.events\nrpcb-trio gateway … --events rpcb.events"),
    el("p", {}, "or write ", el("code", {}, 'events = "rpcb.events"'), " into rpcb.toml, at its top and in ", el("code", {}, "[gateway]"), "."),
  );
}
