// The strip of small photos: one button each, with how many detections it has, or that it failed.

import { visible } from "./boxes.js";

const SIDE = 88; // CSS pixels

export class Strip {
  #list = document.getElementById("strip");
  #results = [];
  #pictures = null;
  #choose;
  #seen;

  /** `choose` is called with the index of the photo that was pressed. */
  constructor(choose) {
    this.#choose = choose;
    // A thumbnail needs a decoded photo, so it is made only when it comes into sight.
    this.#seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.#seen.unobserve(target);
        this.#thumbnail(target);
      }
    });
  }

  reset(pictures) {
    this.#seen.disconnect();
    this.#pictures = pictures;
    this.#results = [];
    this.#list.replaceChildren();
  }

  add(results, threshold) {
    for (const result of results) {
      const [row, button] = [document.createElement("li"), document.createElement("button")];
      const [canvas, badge] = [document.createElement("canvas"), document.createElement("span")];
      canvas.width = canvas.height = SIDE * Math.min(2, window.devicePixelRatio || 1);
      canvas.setAttribute("aria-hidden", "true");
      badge.className = "badge";
      button.type = "button";
      button.title = result.name;
      button.dataset.place = this.#results.length;
      button.append(canvas, badge);
      button.addEventListener("click", () => this.#choose(Number(button.dataset.place)));
      row.append(button);
      this.#list.append(row);
      this.#results.push(result);
      this.#seen.observe(button);
    }
    this.filter(threshold);
  }

  /** Count the detections with at least the score `threshold` again. */
  filter(threshold) {
    this.#results.forEach((result, place) => {
      const button = this.#list.children[place].firstChild;
      const badge = button.lastChild;
      const count = visible(result, threshold).length;
      const state = result.state === "succeeded" ? `${count} detection${count === 1 ? "" : "s"}` : result.state;
      badge.textContent = result.state === "succeeded" ? count : { failed: "!" }[result.state] ?? "–";
      button.className = result.state === "succeeded" && count ? "" : result.state === "failed" ? "bad" : "none";
      button.setAttribute("aria-label", `${result.name}: ${state}`);
    });
  }

  mark(place) {
    [...this.#list.children].forEach(({ firstChild: button }, index) => {
      if (index === place) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    const button = this.#list.children[place]?.firstChild;
    if (button) this.#scrollTo(button);
  }

  focus(place) {
    this.#list.children[place]?.firstChild.focus({ preventScroll: true });
  }

  /** Scroll the strip, never the page. */
  #scrollTo(button) {
    const list = this.#list;
    list.scrollTop = button.offsetTop - (list.clientHeight - button.offsetHeight) / 2;
    list.scrollLeft = button.offsetLeft - (list.clientWidth - button.offsetWidth) / 2;
  }

  async #thumbnail(button) {
    const result = this.#results[Number(button.dataset.place)];
    const pictures = this.#pictures;
    let bitmap;
    try {
      bitmap = await createImageBitmap(await pictures.original(result.index));
    } catch {
      try {
        if (result.state !== "succeeded") return;
        bitmap = await createImageBitmap(await pictures.drawn(result.index));
      } catch {
        return; // the button has its label without a picture
      }
    }
    const canvas = button.firstChild;
    const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    bitmap.close();
  }
}
