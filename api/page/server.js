// Calls to the API. A call that fails throws a ServerError with the server's own sentence.

const KEY = "shelfline.key";
const NO_ANSWER = "The server does not answer. Check that it runs and that you are connected.";

export class ServerError extends Error {
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may succeed later, with nothing changed. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

export const apiKey = () => sessionStorage.getItem(KEY) ?? "";

export function setApiKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

const address = (path) => new URL(path, new URL("./", document.baseURI)).href;
const authorization = () => (apiKey() ? { Authorization: `Bearer ${apiKey()}` } : {});

function refused(status, text, retryAfter) {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {
    // The answer is a proxy's own page, so only its status is known.
  }
  const details = { status, code: problem.code ?? "", retryAfter: Number(retryAfter) || 0 };
  return new ServerError(problem.detail || `The server answered with status ${status}.`, details);
}

async function call(path, { method = "GET", headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(address(path), { method, headers: { ...authorization(), ...headers }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(NO_ANSWER);
  }
  if (!response.ok) throw refused(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

const jobPath = (id, rest = "") => `v1/jobs/${encodeURIComponent(id)}${rest}`;

export const models = async () => (await (await call("v1/models")).json()).data;
export const job = async (id, wait, signal) => (await call(jobPath(id, wait ? `?wait=${wait}` : ""), { signal })).json();
export const cancel = async (id) => (await call(jobPath(id, "/cancel"), { method: "POST" })).json();
export const retry = async (id) => (await call(jobPath(id, "/retry"), { method: "POST" })).json();
export const picture = async (id, index, what, signal) =>
  (await call(jobPath(id, `/items/${index}/${what}`), { signal })).blob();
export const resultsPath = (id, format) => jobPath(id, `/results?format=${format}`);
export const download = async (path) => (await call(path)).blob();
export { address };

/** The finished results from index `start` on, at most `limit`, in input order. */
export async function results(id, start, limit, signal) {
  const text = await (await call(jobPath(id, `/results?format=jsonl&start=${start}&limit=${limit}`), { signal })).text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** Send files, each as {file, name}, as a job. `progress` is called with the bytes sent and their sum. */
export function submit(files, options, { idempotencyKey, progress, signal }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(options)) form.append(name, value);
  for (const { file, name } of files) form.append("images", file, name);
  // XMLHttpRequest, because fetch does not report the progress of an upload.
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    const broken = "The upload broke off. Check that you are connected and that the photos are still where they were.";
    request.open("POST", address("v1/jobs"));
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.setRequestHeader("Idempotency-Key", idempotencyKey);
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
    request.onload = () => {
      const { status, responseText } = request;
      if (status < 300) resolve(JSON.parse(responseText));
      else reject(refused(status, responseText, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(new ServerError(broken));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
