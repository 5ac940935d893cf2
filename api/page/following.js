// A job as it goes on: its state and its results, until it is over.

import * as server from "./server.js";

export const MOST_SHOWN = 500; // photos of a job; the downloads have them all
const POLL_SECONDS = 1; // the wait of one poll: it ends at once where the job ends
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
 * Yields {job, results}, the results being those that are new; or {trouble}, a sentence, while the server cannot be
 * asked. Ends when the job is over and shown; throws what will not pass.
 */
export async function* follow(id, signal) {
  let seen = 0;
  let failures = 0;
  let wait = 0;
  for (;;) {
    const began = performance.now();
    try {
      const job = await server.job(id, wait, signal);
      const most = Math.min(job.counts.total ?? 0, MOST_SHOWN) - seen;
      const done = job.counts.succeeded + job.counts.failed + job.counts.canceled;
      const results = most > 0 && done > 0 ? await server.results(id, seen, most, signal) : [];
      seen += results.length;
      failures = 0;
      yield { job, results };
      if (isOver(job)) return;
      // A server whose every waiting place is taken answers at once: then the pause is made here.
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
