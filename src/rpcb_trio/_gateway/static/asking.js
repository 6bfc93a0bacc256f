// One request over HTTP, and in plain words what may become of it.

import { root } from "./dom.js";

// A route whose clients know of no HTTP status says what has failed to whoever asks for it like this.
const ACCEPT = "application/problem+json, application/json;q=0.9, */*;q=0.8";

const KIND = {
  0: ["The gateway can't be reached", "Check that it runs and that the network is there, then send again."],
  400: ["The service could not use this request", ""],
  403: ["This page may not call the gateway", ""],
  404: ["There is no such service", ""],
  408: ["The upload took too long", "Try a shorter file, or a faster line."],
  413: ["The file is too large", ""],
  415: ["The service takes this in another form", ""],
  421: ["The gateway is not to be reached by this name", ""],
  422: ["Something in the form is not right", ""],
  500: ["The service failed", "It said so itself; the worker's log tells more."],
  502: ["Nobody serves this yet", "Start a worker for it, then send again."],
  503: ["It is too busy just now", "Wait a moment, then send again."],
  504: ["No answer came in time", "The workers may be busy or away. Send again, or look below."],
  507: ["There is no room for the answer's file", ""],
};

/** Why a request has no answer; to be shown as it is. */
export class Problem extends Error {
  constructor(status, { title, detail, error, field, reply, request_id: id } = {}) {
    const [kind, remedy] = KIND[error === "bad-reply" ? 500 : status] ?? [title ?? "It did not work", ""];
    super(kind);
    this.title = kind;
    this.remedy = error === "bad-reply" ? "" : remedy;
    this.detail = detail ?? "";
    this.field = field;
    this.said = typeof reply === "string" ? reply : reply?.message ?? reply?.reason ?? "";
    this.id = id;
  }
}

/** Send a request, and read what comes: { answer } of JSON, or { blob } of anything else. */
export async function ask({ path, method, body, headers, envelope }, signal) {
  const started = performance.now();
  let response, blob;
  try {
    response = await fetch(new URL(path.replace(/^\//, ""), root), { method, body, headers: { accept: ACCEPT, ...headers }, signal });
    blob = await response.blob();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  const milliseconds = performance.now() - started;
  const type = response.headers.get("content-type") ?? "";
  const told = /\bjson\b/.test(type) ? await json(blob) : undefined;
  if (!response.ok) throw new Problem(response.status, type.includes("problem+json") ? told : await passed(type, blob, response));
  if (envelope && told && "message" in told) return { ...opened(told, response), milliseconds };
  return { answer: told, blob: told === undefined ? blob : undefined, ...facts(response), milliseconds };
}

/** What is in rabbit-rpc-client's envelope, where the status stands in the JSON. */
function opened({ status, message, data }, response) {
  if (status === 200) return { answer: data, ...facts(response) };
  throw new Problem(status === 400 ? 504 : 500, { detail: message, request_id: response.headers.get("x-request-id") });
}

/** An error reply that went through as it is; the reason stands in a header, in percent-encoding. */
async function passed(type, blob, response) {
  const reason = response.headers.get("rpcb-error-reason");
  return { reply: await text(type, blob), detail: reason && decoded(reason), request_id: response.headers.get("x-request-id") };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function facts(response) {
  const size = response.headers.get("rpcb-batch-size");
  return { id: response.headers.get("x-request-id"), batchSize: size === null ? null : Number(size) };
}

async function text(type, blob) {
  return /^text\/|json/.test(type) ? (await blob.text()).slice(0, 500) : "";
}

async function json(blob) {
  try {
    return JSON.parse(await blob.text());
  } catch {
    return undefined;
  }
}
