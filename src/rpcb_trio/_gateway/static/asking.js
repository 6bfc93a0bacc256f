// One request over HTTP, and in plain words why it may fail.

import { root } from "./dom.js";

// A route's envelope may hide failures behind HTTP's 200; a client that accepts problems gets them as such.
const ACCEPT = "application/problem+json, application/json;q=0.9, */*;q=0.8";

const KIND = {
  0: ["The gateway can't be reached", "Check that it runs and that the network works, then send again."],
  400: ["The service could not use this request", ""],
  403: ["This page may not call the gateway", ""],
  404: ["There is no such service", ""],
  408: ["The upload took too long", "Try a shorter file, or a faster connection."],
  413: ["The file is too large", ""],
  415: ["The service takes another kind of request", ""],
  421: ["The gateway has no such host name", ""],
  422: ["Something in the form is not right", ""],
  500: ["The service failed", "The worker's log says more."],
  502: ["No worker serves this yet", "Start a worker for it, then send again."],
  503: ["The service is too busy", "Wait a moment, then send again."],
  504: ["No answer came in time", "The workers may be busy or away. Send again, or look at the batches."],
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

/** Send a request, and read the response: { value } of JSON, or { blob } of anything else. */
export async function ask({ path, method, body, headers, envelope }, signal) {
  const started = performance.now();
  let response, blob;
  try {
    response = await fetch(urlOf(path), { method, body, headers: { accept: ACCEPT, ...headers }, signal });
    blob = await response.blob();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  const milliseconds = performance.now() - started;
  const type = response.headers.get("content-type") ?? "";
  const value = /\bjson\b/.test(type) ? await json(blob) : undefined;
  if (!response.ok) throw new Problem(response.status, type.includes("problem+json") ? value : await passed(type, blob, response));
  const facts = { id: response.headers.get("x-request-id"), batches: batchesOf(response), milliseconds };
  if (value === undefined) return { blob, ...facts };
  const isWrapped = envelope && value !== null && typeof value === "object" && envelope in value;
  return { value: isWrapped ? value[envelope] : value, ...facts };
}

/** The same request as a command for a shell. */
export function curlOf({ path, method, body, headers }) {
  const words = ["curl", ...(method === "POST" ? [] : ["-X", method])];
  if (body instanceof FormData) {
    for (const [name, value] of body) {
      if (value instanceof File) words.push("-F", `${name}=@"${value.name.replace(/["\\]/g, "\\$&")}"`);
      else words.push("--form-string", `${name}=${value}`);
    }
  } else {
    for (const [name, value] of Object.entries(headers ?? {})) words.push("-H", `${name}: ${value}`);
    words.push("--data-binary", body instanceof File ? `@${body.name}` : body);
  }
  return [...words, urlOf(path).href].map(quoted).join(" ");
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const urlOf = (path) => new URL(path.replace(/^\//, ""), root);

/** In how large a batch the request was, or each part's: [{ name, size }]. */
function batchesOf(response) {
  const size = response.headers.get("rpcb-batch-size");
  if (size !== null) return [{ name: null, size: Number(size) }];
  const sizes = response.headers.get("rpcb-batch-sizes") ?? "";
  return sizes.split(", ").filter(Boolean).map((each) => each.split("=")).map(([name, of]) => ({ name, size: Number(of) }));
}

/** An error reply that was passed on as it is; the reason stands in a header, in percent-encoding. */
async function passed(type, blob, response) {
  const reason = response.headers.get("rpcb-error-reason");
  const reply = /^text\/|json/.test(type) ? (await blob.text()).slice(0, 500) : "";
  return { reply, detail: reason && decoded(reason), request_id: response.headers.get("x-request-id") };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function json(blob) {
  try {
    return JSON.parse(await blob.text());
  } catch {
    return undefined;
  }
}
