// Boxes on a canvas: which are shown, how they look, and which of them lies under a point.

/** The detections of a result with at least the score `threshold`, each with its index among all of them. */
export const visible = (result, threshold) =>
  (result.detections ?? []).map((detection, index) => ({ ...detection, index })).filter(({ score }) => score >= threshold);

/** A strong colour for a class name, the same in every photo. */
export function colour(label) {
  let hash = 2166136261; // FNV-1a
  for (const character of label) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  return `hsl(${(hash >>> 8) % 360} 85% 48%)`;
}

/** Clear a canvas of `width` x `height` CSS pixels and draw; `chosen` is the index of the detection that stands out. */
export function draw(canvas, { width, height }, result, detections, chosen) {
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  const best = [...detections].reverse(); // the best come last, on top
  const last = best.filter(({ index }) => index === chosen);
  for (const detection of [...best.filter(({ index }) => index !== chosen), ...last]) {
    box(pen, place(detection, result, width, height), detection, chosen);
  }
}

/** The detection under a point; if there are several, the smallest, since the others can be reached beside it. */
export function under(x, y, { width, height }, result, detections) {
  const inside = detections.filter((detection) => {
    const at = place(detection, result, width, height);
    return x >= at.x && x <= at.x + at.width && y >= at.y && y <= at.y + at.height;
  });
  const area = ({ box: at }) => (at.xmax - at.xmin) * (at.ymax - at.ymin);
  return inside.sort((first, second) => area(first) - area(second))[0];
}

function place({ box: at }, result, width, height) {
  const [across, down] = [width / result.width, height / result.height];
  return {
    x: at.xmin * across,
    y: at.ymin * down,
    width: (at.xmax - at.xmin) * across,
    height: (at.ymax - at.ymin) * down,
  };
}

function box(pen, at, detection, chosen) {
  const stands = detection.index === chosen;
  const faded = chosen !== null && !stands;
  pen.globalAlpha = faded ? 0.35 : 1;
  pen.lineJoin = "round";
  pen.strokeStyle = "rgb(0 0 0 / 65%)"; // a dark rim keeps the colour apart from a background like it
  pen.lineWidth = stands ? 6 : 4;
  pen.strokeRect(at.x, at.y, at.width, at.height);
  pen.strokeStyle = colour(detection.label);
  pen.lineWidth = stands ? 4 : 2;
  pen.strokeRect(at.x, at.y, at.width, at.height);
  if (!faded) plate(pen, at, detection);
  pen.globalAlpha = 1;
}

function plate(pen, at, { label, score }) {
  const text = `${label.length > 40 ? `${label.slice(0, 39)}…` : label} ${score.toFixed(2)}`;
  pen.font = "600 12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const width = pen.measureText(text).width + 10;
  const x = Math.max(0, Math.min(at.x - 1, pen.canvas.clientWidth - width));
  const y = at.y >= 19 ? at.y - 19 : at.y;
  pen.fillStyle = "rgb(0 0 0 / 78%)";
  pen.fillRect(x, y, width, 18);
  pen.fillStyle = colour(label);
  pen.fillRect(x, y, 4, 18);
  pen.fillStyle = "#fff";
  pen.fillText(text, x + 7, y + 9.5);
}
