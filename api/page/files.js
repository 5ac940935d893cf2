// Photos that were chosen or dropped, folders included, as {file, name}, and what is left out of folders.

const HIDDEN = /(^|\/)\./;
// Made by systems for themselves; workers/io/names.py has the same names.
const OF_A_SYSTEM = /(^|\/)((@eadir|__macosx|#recycle|@recycle|\$recycle\.bin)\/|(thumbs\.db|ehthumbs\.db|desktop\.ini)$)/i;
const PICTURE = /\.(jpe?g|jpe|jfif|mpo|png|webp|bmp|gif|tiff?|avif|p[pgn]m)$/i;

const named = (file, name) => ({ file, name: name || file.name });
const isSeen = ({ name }) => !HIDDEN.test(name) && !OF_A_SYSTEM.test(name);
const suffix = (name) => /[^/](\.[^./]{1,15})$/.exec(name)?.[1].toLowerCase() ?? "none";

export const chosen = (input) => [...input.files].map((file) => named(file, file.webkitRelativePath));

/**
 * The dropped photos: every file that was dropped itself, and of dropped folders the files that are named like pictures.
 * `others` are the names of the folders' other files.
 */
export async function dropped(transfer) {
  // The list is empty once the event is over, so take everything out of it first.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const photos = [];
  const others = [];
  for (const { entry, file } of entries) {
    const inside = entry?.isDirectory ? (await inFolder(entry)).filter(isSeen) : [];
    for (const photo of inside) {
      if (PICTURE.test(photo.name)) photos.push(photo);
      else others.push(photo.name);
    }
    if (file && !entry?.isDirectory) photos.push(named(file));
  }
  return { photos, others };
}

async function inFolder(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    entries.push(...batch);
  }
  entries.sort((first, second) => (first.name < second.name ? -1 : 1));
  const files = [];
  for (const entry of entries) {
    if (entry.isDirectory) files.push(...(await inFolder(entry)));
    else files.push(named(await new Promise((resolve, reject) => entry.file(resolve, reject)), entry.fullPath.slice(1)));
  }
  return files;
}

/** How many files have which suffix, as the `skipped` of a job. */
export function bySuffix(names) {
  const counts = {};
  for (const name of names) counts[suffix(name)] = (counts[suffix(name)] ?? 0) + 1;
  return counts;
}

/** Which files were left out, in words: "3 files left out: .heic (2), without a suffix (1)". */
export function leftOut(skipped) {
  const counts = Object.entries(skipped ?? {});
  const number = counts.reduce((sum, [, some]) => sum + some, 0);
  const kinds = { none: "without a suffix", other: "of other kinds" };
  const each = counts.map(([kind, some]) => `${kinds[kind] ?? kind} (${some.toLocaleString()})`);
  return number ? `${number.toLocaleString()} file${number === 1 ? "" : "s"} left out: ${each.join(", ")}` : "";
}

export function size(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
