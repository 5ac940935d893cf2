// Follow a job: its state and its results, until it has ended.

import * as server from "./server.js";

export const MAX_SHOWN = 500; // photos of a job; the downloads have them all
const POLL_SECONDS = 1; // how long one poll waits; it ends at once when the job ends
const OVER = new Set(["succeeded", "partial", "failed", "canceled", "expired"]);

export const isOver = (job) => OVER.has(job.state);

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });

/**
 * Yield {job, results} with the new results; or {trouble}, a sentence, while the server cannot be reached. Ends when
 * the job has ended and all its results were yielded. Throws errors that another try would not help.
 */
export async function* follow(id, signal) {
  let seen = 0;
  let failures = 0;
  let wait = 0;
  for (;;) {
    const began = performance.now();
    try {
      const job = await server.job(id, wait, signal);
      const limit = Math.min(job.counts.total ?? 0, MAX_SHOWN) - seen;
      const done = job.counts.succeeded + job.counts.failed + job.counts.canceled;
      const results = limit > 0 && done > 0 ? await server.results(id, seen, limit, signal) : [];
      seen += results.length;
      failures = 0;
      yield { job, results };
      if (isOver(job)) return;
      // A server without a free waiting place answers at once; then the page waits here.
      const left = wait - (performance.now() - began) / 1000;
      if (left > 0.1) await pause(left, signal);
      wait = POLL_SECONDS;
    } catch (error) {
      if (!(error instanceof server.ServerError) || !error.passing) throw error;
      failures += 1;
      yield { trouble: error.message };
      await pause(error.retryAfter || Math.min(2 ** failures / 2, 10), signal);
    }
  }
}
