// The page: choose photos, send them, follow the job, look at its detections. The address names the job (#job=…).

import { bySuffix, chosen, dropped, leftOut, size } from "./files.js";
import { JobView } from "./job.js";
import * as server from "./server.js";

const $ = (id) => document.getElementById(id);
const photos = (count) => `${count.toLocaleString()} photo${count === 1 ? "" : "s"}`;

let files = [];
let others = new Set(); // names of files that were left out of dropped folders
let sendingKey = ""; // the idempotency key of these files with these options, so that a second try makes no second job
let upload = null;
let models = [];
const view = new JobView({ failed: report, opened: go });

function report(error) {
  if (error.name === "AbortError") return;
  const asksForKey = error.status === 401;
  if (asksForKey) {
    $("key-form").hidden = false;
    $("key").focus();
  }
  // As long as the page has no key, a request for one is not an error.
  say(asksForKey && !server.apiKey() ? "" : error.message || String(error));
}

function say(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

// --- the address ---

const jobInAddress = () => new URLSearchParams(location.hash.slice(1)).get("job");

function go(id, sent = null) {
  history.pushState(null, "", id ? `#job=${encodeURIComponent(id)}` : location.pathname + location.search);
  route(sent);
  $(id ? "job-title" : "start-title").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function route(sent = null) {
  const id = jobInAddress();
  say("");
  $("start").hidden = Boolean(id);
  $("job").hidden = !id;
  document.title = "Shelfline";
  if (id) view.open(id, sent, models);
  else view.close();
}

// --- choosing ---

function take(more, left = []) {
  others = new Set([...others, ...left]);
  const before = new Set(files.map(({ file, name }) => `${name}\n${file.size}\n${file.lastModified}`));
  files = [...files, ...more.filter(({ file, name }) => !before.has(`${name}\n${file.size}\n${file.lastModified}`))];
  changed();
}

function changed() {
  sendingKey = "";
  const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
  $("chosen").hidden = !files.length;
  const facts = files.length ? [`${photos(files.length)}, ${size(bytes)}`, leftOut(bySuffix(others))] : [];
  $("chosen-text").textContent = facts.filter(Boolean).join(" · ");
  $("files-label").textContent = files.length ? "Add photos" : "Choose photos";
  $("files-label").classList.toggle("primary", !files.length);
  $("submit").textContent = files.length ? `Detect in ${photos(files.length)}` : "Detect";
  $("submit").disabled = !files.length || upload !== null;
  $("announcer").textContent = files.length ? `${photos(files.length)} chosen` : "";
}

$("files").addEventListener("change", () => {
  take(chosen($("files")));
  $("files").value = ""; // the same file may be chosen again after it was removed
});
$("clear").addEventListener("click", () => {
  files = [];
  others = new Set();
  changed();
  $("files").focus();
});
$("model").addEventListener("change", () => {
  sendingKey = "";
  describeModel();
});

$("tiles").addEventListener("change", () => {
  sendingKey = "";
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
let over = 0; // dragenter and dragleave come for every element on the way
document.addEventListener("dragenter", (event) => carriesFiles(event) && $("drop").classList.toggle("over", ++over > 0));
document.addEventListener("dragleave", (event) => carriesFiles(event) && $("drop").classList.toggle("over", --over > 0));
document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
document.addEventListener("drop", async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  over = 0;
  $("drop").classList.remove("over");
  if (upload) return;
  try {
    const drop = await dropped(event.dataTransfer);
    if (jobInAddress()) go("");
    if (drop.photos.length) take(drop.photos, drop.others);
    const left = leftOut(bySuffix(drop.others));
    say(drop.photos.length ? "" : `You dropped no photo${left && ` (${left})`}. Drop photos, or folders with photos.`);
  } catch {
    say("The files that you dropped cannot be read. Try to choose them instead.");
  }
});

// --- sending ---

$("submit-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!files.length || upload) return;
  say("");
  upload = new AbortController();
  sending(true);
  sendingKey ||= Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16)).join("-");
  try {
    const options = { tiles: $("tiles").value };
    if ($("model").value) options.model = $("model").value;
    const send = { idempotencyKey: sendingKey, progress: progressed, signal: upload.signal };
    const job = await server.submit(files, options, send);
    const sent = files;
    files = [];
    others = new Set();
    go(job.id, sent);
  } catch (error) {
    report(error);
  } finally {
    upload = null;
    sending(false);
    if (!files.length) changed();
  }
});

function sending(on) {
  $("upload").hidden = !on;
  $("submit").disabled = on || !files.length;
  for (const control of [$("files"), $("model"), $("tiles"), $("clear")]) control.disabled = on;
  if (!on) return;
  progressed(0, 0);
  $("announcer").textContent = `Sending ${photos(files.length)}`;
}

function progressed(sent, all) {
  if (all) $("upload-bar").value = sent / all;
  else $("upload-bar").value = 0;
  $("upload-text").textContent =
    all && sent >= all ? "Sent. The server is storing the photos …" : `Sending ${size(sent)}${all ? ` of ${size(all)}` : ""}`;
}

$("upload-stop").addEventListener("click", () => upload?.abort());
window.addEventListener("beforeunload", (event) => upload && event.preventDefault());

// --- the models, and the key ---

async function loadModels() {
  try {
    models = await server.models();
  } catch (error) {
    report(error);
    return;
  }
  $("key-form").hidden = true;
  $("forget-key").hidden = !server.apiKey();
  const choices = models.map(({ id, state }) => new Option(state === "available" ? id : `${id} (not available)`, id));
  $("model").replaceChildren(...choices);
  $("model").value = models.find((model) => model.default)?.id ?? "";
  describeModel();
}

function describeModel() {
  const model = models.find(({ id }) => id === $("model").value);
  if (!model) return;
  const labels = model.contract?.labels.length;
  const facts = [`version ${model.version}`, labels && `knows ${labels.toLocaleString()} label${labels === 1 ? "" : "s"}`];
  $("model-hint").textContent =
    model.state === "available" ? facts.filter(Boolean).join(", ") : "Not available now. A job waits until it is.";
}

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  server.setApiKey($("key").value.trim());
  $("key").value = "";
  say("");
  await loadModels();
  if ($("key-form").hidden) route();
});
$("forget-key").addEventListener("click", () => {
  server.setApiKey("");
  location.reload();
});
$("again").addEventListener("click", () => go(""));
window.addEventListener("popstate", () => route());

changed();
await loadModels();
if (!jobInAddress() || $("key-form").hidden) route();
