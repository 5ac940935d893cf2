// The photos of a job as blobs: the caller's own files where they were just sent, else what the server stored.

import * as server from "./server.js";

const KEPT = 12; // fetched photos in memory

export class Pictures {
  #id;
  #files;
  #fetched = new Map();

  /** `files`, {file, name} each in the order of the job, or null for a job that was not sent from this page. */
  constructor(id, files) {
    this.#id = id;
    this.#files = files;
  }

  /** The photo itself. */
  async original(index) {
    return this.#files?.[index]?.file ?? this.#fetch(index, "image");
  }

  /** The photo with its boxes drawn by the server, for formats that a browser does not show. */
  async drawn(index) {
    return this.#fetch(index, "annotated");
  }

  #fetch(index, what) {
    const key = `${index}/${what}`;
    const found = this.#fetched.get(key) ?? server.picture(this.#id, index, what);
    this.#fetched.delete(key);
    this.#fetched.set(key, found); // the latest come last
    found.catch(() => this.#fetched.delete(key));
    if (this.#fetched.size > KEPT) this.#fetched.delete(this.#fetched.keys().next().value);
    return found;
  }
}
