// The photos of a job as blobs: the files themselves if this page sent them, else those that the server stored.

import * as server from "./server.js";

const KEPT = 12; // fetched photos in memory

export class Pictures {
  #id;
  #files;
  #fetched = new Map();

  /** `files` are {file, name} in the order of the job, or null if this page did not send them. */
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
    const picture = this.#fetched.get(key) ?? server.picture(this.#id, index, what);
    this.#fetched.delete(key);
    this.#fetched.set(key, picture); // the latest come last
    picture.catch(() => this.#fetched.delete(key));
    if (this.#fetched.size > KEPT) this.#fetched.delete(this.#fetched.keys().next().value);
    return picture;
  }
}
