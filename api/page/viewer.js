// One large photo with its boxes, and the list of its detections; pointing at either shows the other.

import { colour, draw, under, visible } from "./boxes.js";

const $ = (id) => document.getElementById(id);
const [frame, photo, canvas, list] = ["frame", "photo", "boxes", "found"].map($);

export class Viewer {
  #result = null;
  #threshold = 0;
  #shown = [];
  #chosen = null; // the index of the detection that is pointed at
  #pinned = null; // the index of the detection that was pressed
  #covered = false; // true if the server has drawn the boxes into the photo
  #loading = 0;
  #url = "";

  constructor() {
    new ResizeObserver(() => this.#draw()).observe(frame);
    canvas.addEventListener("pointermove", (event) => this.#choose(this.#at(event)?.index ?? null, true));
    canvas.addEventListener("pointerleave", () => this.#choose(null));
    canvas.addEventListener("click", (event) => this.#press(this.#at(event)?.index ?? null));
    for (const [kind, index] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
      list.addEventListener(kind, (event) => {
        const button = event.target.closest("button");
        if (button) this.#choose(index ? Number(button.dataset.index) : null);
      });
    }
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.#press(Number(button.dataset.index));
    });
  }

  /** Show a result, and its photo as soon as it is there. */
  show(result, pictures) {
    const { name, width, height, error } = result;
    this.#result = result;
    this.#chosen = this.#pinned = null;
    this.#covered = false;
    $("photo-name").textContent = name;
    const facts = [width ? `${width} × ${height} pixels` : "", modelOf(result)];
    $("photo-facts").textContent = facts.filter(Boolean).join(" · ");
    $("failure").hidden = !error;
    $("failure").textContent = error ? `${error.detail} (${error.code})` : "";
    if (width) frame.style.setProperty("--ratio", String(width / height));
    this.#list();
    this.#load(result, pictures);
  }

  set threshold(score) {
    this.#threshold = score;
    if (this.#result) this.#list();
  }

  async #load(result, pictures) {
    const mine = ++this.#loading;
    photo.hidden = true;
    this.#say("Loading the photo …");
    const current = () => mine === this.#loading;
    const shown = (await this.#put(() => pictures.original(result.index), result, current)) || !current();
    if (!shown && result.state === "succeeded") {
      this.#covered = await this.#put(() => pictures.drawn(result.index), result, current);
    }
    if (!current()) return;
    this.#say(shown || this.#covered ? "" : "The photo cannot be shown here.");
    this.#draw();
  }

  /** Put a picture into the frame; returns whether the browser shows it as the boxes need it. */
  async #put(get, { width, height, name }, current) {
    const trial = new Image();
    let url = "";
    try {
      url = URL.createObjectURL(await get());
      trial.src = url;
      await trial.decode();
    } catch {
      URL.revokeObjectURL(url);
      return false;
    }
    const [across, down] = [trial.naturalWidth, trial.naturalHeight];
    // A browser that leaves a photo lying on its side would show the boxes in the wrong places.
    if (!current() || (width && Math.abs(across * height - down * width) > 2 * Math.max(width, height, across, down))) {
      URL.revokeObjectURL(url);
      return false;
    }
    URL.revokeObjectURL(this.#url);
    this.#url = url;
    photo.src = url;
    photo.alt = name;
    photo.hidden = false;
    frame.style.setProperty("--ratio", String(across / down));
    return true;
  }

  #say(text) {
    $("stage-text").hidden = !text;
    $("stage-text").textContent = text;
  }

  #list() {
    const result = this.#result;
    this.#shown = visible(result, this.#threshold);
    const hidden = (result.detections?.length ?? 0) - this.#shown.length;
    $("found-title").textContent = result.detections ? `Detections (${this.#shown.length})` : "Detections";
    $("found-text").textContent = comment(result, this.#shown.length, hidden);
    list.replaceChildren(...this.#shown.map((detection) => this.#row(detection)));
    if (!this.#shown.some(({ index }) => index === this.#pinned)) this.#pinned = null;
    this.#choose(null);
  }

  #row({ index, label, score }) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    const swatch = document.createElement("span");
    const [name, number] = [document.createElement("span"), document.createElement("span")];
    button.type = "button";
    button.dataset.index = index;
    button.setAttribute("aria-pressed", String(index === this.#pinned));
    swatch.className = "swatch";
    swatch.style.backgroundColor = colour(label);
    [name.className, name.textContent] = ["name", label];
    [number.className, number.textContent] = ["score", score.toFixed(2)];
    button.append(swatch, name, number);
    row.append(button);
    return row;
  }

  #at(event) {
    if (this.#covered || !this.#result?.width) return undefined;
    return under(event.offsetX, event.offsetY, this.#size(), this.#result, this.#shown);
  }

  #choose(index, scroll = false) {
    const chosen = index ?? this.#pinned;
    canvas.classList.toggle("over", index !== null);
    for (const button of list.querySelectorAll("button")) {
      const is = Number(button.dataset.index) === chosen;
      button.classList.toggle("chosen", is);
      // Only the list moves, never the page: scrollIntoView would do both.
      if (is && scroll) list.scrollTop = button.offsetTop - list.clientHeight / 2;
    }
    this.#chosen = chosen;
    this.#draw();
  }

  #press(index) {
    this.#pinned = this.#pinned === index ? null : index;
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.index) === this.#pinned));
    }
    this.#choose(index);
  }

  #size() {
    return { width: frame.clientWidth, height: frame.clientHeight };
  }

  #draw() {
    const detections = this.#covered || !this.#result?.width ? [] : this.#shown;
    draw(canvas, this.#size(), this.#result ?? {}, detections, this.#chosen);
    canvas.dataset.drawn = detections.length;
  }
}

const modelOf = ({ model, model_version: version }) => (model ? `${model}, version ${version}` : "");

function comment({ state, detections }, shown, hidden) {
  if (state === "canceled") return "The job was canceled before this photo's turn.";
  if (!detections) return "";
  if (!detections.length) return "The model found nothing in this photo.";
  if (!shown) return `Nothing has that score: lower it to see ${hidden} more.`;
  return hidden ? `${hidden} more below that score.` : "";
}
