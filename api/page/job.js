// The view of one job: its progress, its photos, and its actions.

import { leftOut } from "./files.js";
import { MAX_SHOWN, follow, isOver } from "./following.js";
import { Pictures } from "./pictures.js";
import * as server from "./server.js";
import { Strip } from "./strip.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const FORMATS = [
  ["jsonl", "JSON lines", "jsonl"],
  ["json", "JSON", "json"],
  ["coco", "COCO", "coco.json"],
  ["csv", "CSV", "csv"],
];

const TITLES = {
  enumerating: "Listing the photos",
  queued: "Waiting",
  running: "Detecting",
  finishing: "Finishing",
  canceling: "Canceling",
  succeeded: "Done",
  partial: "Done, with failures",
  failed: "Failed",
  canceled: "Canceled",
  expired: "Out of time",
};

const ENCODINGS = {
  gb18030: "Chinese (GBK)",
  cp950: "Chinese (Big5)",
  cp932: "Japanese (Shift-JIS)",
  cp949: "Korean (EUC-KR)",
  cp437: "Western (cp437)",
};

const count = (number, word) => `${number.toLocaleString()} ${word}${number === 1 ? "" : "s"}`;

export class JobView {
  #id = "";
  #job = null;
  #results = [];
  #pictures = null;
  #place = -1; // of the photo that is shown, in #results
  #threshold = 0;
  #following = new AbortController();
  #viewer = new Viewer();
  #strip = new Strip((place) => this.#show(place));
  #failed;
  #opened;

  /** `failed` is called with errors, `opened` with the id of another job to show instead. */
  constructor({ failed, opened }) {
    this.#failed = failed;
    this.#opened = opened;
    $("threshold").addEventListener("input", () => this.#filter(Number($("threshold").value)));
    $("previous").addEventListener("click", () => this.#show(this.#place - 1));
    $("next").addEventListener("click", () => this.#show(this.#place + 1));
    $("strip").addEventListener("keydown", (event) => this.#key(event));
    $("cancel").addEventListener("click", () => this.#do($("cancel"), async () => this.#state(await server.cancel(this.#id))));
    $("retry").addEventListener("click", () => this.#do($("retry"), async () => this.#opened((await server.retry(this.#id)).id)));
    $("downloads").addEventListener("click", (event) => this.#download(event));
  }

  close() {
    this.#following.abort();
    this.#id = "";
  }

  /** Show a job. `files` are its photos if this page sent them. `models` give the lowest score that can be chosen. */
  async open(id, files, models) {
    if (id === this.#id) return;
    this.close();
    this.#id = id;
    this.#job = null;
    this.#results = [];
    this.#place = -1;
    this.#pictures = new Pictures(id, files);
    this.#strip.reset(this.#pictures);
    for (const part of ["pictures", "downloads", "cancel", "retry", "strip-more"]) $(part).hidden = true;
    $("job-title").textContent = "Opening the job …";
    $("job-text").textContent = "";
    $("job-bar").removeAttribute("value");
    $("job-bar").hidden = false;
    this.#following = new AbortController();
    const { signal } = this.#following;
    try {
      for await (const { job, results, trouble } of follow(id, signal)) {
        if (signal.aborted) return;
        if (trouble) {
          $("job-text").textContent = `${trouble} The job goes on; this page asks again.`;
          continue;
        }
        if (!this.#job) this.#limits(job, models);
        this.#results.push(...results);
        this.#state(job);
        this.#add(results);
      }
    } catch (error) {
      if (signal.aborted) return;
      $("job-title").textContent = error.status === 410 ? "This job was deleted" : "This job cannot be shown";
      $("job-bar").hidden = true;
      $("cancel").hidden = true;
      if (error.status === 401) this.#id = ""; // once there is a key, it is opened again
      this.#failed(error);
    }
  }

  #limits(job, models) {
    const model = models.find(({ id }) => id === job.options.model);
    const lowest = Math.max(model?.contract?.score_threshold ?? 0, job.options.min_score ?? 0);
    $("threshold").min = Math.min(99, Math.floor(lowest * 100));
    $("threshold").value = $("threshold").min;
    this.#filter(Number($("threshold").min));
  }

  #state(job) {
    const before = this.#job?.state;
    const { total, succeeded, failed, canceled } = job.counts;
    this.#job = job;
    const title = job.state === "failed" && !job.error ? `${count(total, "photo")} failed` : TITLES[job.state] ?? job.state;
    $("job-title").textContent = title;
    $("job-bar").value = job.progress;
    $("job-bar").hidden = isOver(job);
    $("job-text").textContent = isOver(job) ? summary(job) : progressText(job);
    $("cancel").hidden = isOver(job) || job.state === "canceling" || job.state === "finishing";
    $("retry").hidden = !(isOver(job) && failed && this.#mayPass(total));
    $("downloads").hidden = !(succeeded + failed);
    document.title = `${isOver(job) ? title : total === null ? title : `${succeeded + failed + canceled} of ${total}`} – Shelfline`;
    if (job.state !== before) $("announcer").textContent = `${title}. ${$("job-text").textContent}`;
    this.#offerDownloads();
  }

  /** Whether a retry may help: a damaged photo would fail again. */
  #mayPass(total) {
    return total > MAX_SHOWN || this.#results.some(({ error }) => error?.retryable);
  }

  #offerDownloads() {
    const there = $("downloads").querySelectorAll("a");
    if (there[0]?.dataset.job === this.#id) return;
    for (const link of there) link.remove();
    for (const [format, text, suffix] of FORMATS) {
      const link = document.createElement("a");
      link.href = server.address(server.resultsPath(this.#id, format));
      link.download = `${this.#id}.${suffix}`;
      link.textContent = text;
      link.dataset.job = this.#id;
      $("downloads").append(link);
    }
  }

  /** A link carries no key. If there is a key, fetch the file with it, then save it. */
  #download(event) {
    const link = event.target.closest("a");
    if (!link || !server.apiKey()) return;
    event.preventDefault();
    this.#do(link, async () => {
      const url = URL.createObjectURL(await server.download(link.href));
      const save = document.createElement("a");
      [save.href, save.download] = [url, link.download];
      save.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    });
  }

  async #do(control, action) {
    control.disabled = true;
    try {
      await action();
    } catch (error) {
      this.#failed(error);
    } finally {
      control.disabled = false;
    }
  }

  #add(results) {
    if (!results.length) return;
    $("pictures").hidden = false;
    this.#strip.add(results, this.#threshold);
    const { total } = this.#job.counts;
    $("pictures").classList.toggle("single", total === 1);
    $("strip-more").hidden = total <= MAX_SHOWN;
    $("strip-more").textContent = `The first ${MAX_SHOWN} of ${count(total, "photo")}; the downloads have all.`;
    if (this.#place < 0) this.#show(0);
    else this.#steps();
  }

  #show(place) {
    if (!(place in this.#results)) return;
    this.#place = place;
    this.#strip.mark(place);
    this.#viewer.show(this.#results[place], this.#pictures);
    this.#steps();
  }

  #steps() {
    $("previous").disabled = this.#place <= 0;
    $("next").disabled = this.#place >= this.#results.length - 1;
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.#show(this.#place + step);
    this.#strip.focus(this.#place);
  }

  #filter(percent) {
    this.#threshold = percent / 100;
    $("threshold-text").textContent = this.#threshold.toFixed(2);
    this.#viewer.threshold = this.#threshold;
    this.#strip.filter(this.#threshold);
  }
}

function progressText({ counts, queue_position: ahead, eta_seconds: left, waiting_for: reason }) {
  const done = counts.succeeded + counts.failed + counts.canceled;
  if (counts.total === null) return "";
  const parts = [`${done.toLocaleString()} of ${count(counts.total, "photo")}`];
  if (counts.failed) parts.push(`${counts.failed.toLocaleString()} failed`);
  if (ahead) parts.push(`${count(ahead, "job")} ahead`);
  if (left >= 1) parts.push(`about ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left`);
  if (reason) parts.push(reason);
  return parts.join(" · ");
}

function summary({ counts, skipped, name_encoding: encoding, expires_at: expires }) {
  const parts = [];
  if (counts.succeeded) parts.push(`${count(counts.succeeded, "photo")} done`);
  if (counts.failed) parts.push(`${counts.failed.toLocaleString()} failed`);
  if (counts.canceled) parts.push(`${counts.canceled.toLocaleString()} canceled`);
  const others = leftOut(skipped);
  if (others) parts.push(others);
  if (encoding) parts.push(`names read as ${ENCODINGS[encoding] ?? encoding}`);
  if (expires) {
    const until = new Date(expires).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    parts.push(`kept until ${until}`);
  }
  return parts.join(" · ");
}
