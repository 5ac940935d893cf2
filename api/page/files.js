// Photos that were chosen or dropped, folders included, as {file, name}.

const HIDDEN = /(^|\/)\./;
const PICTURE = /\.(jpe?g|jpe|jfif|mpo|png|webp|bmp|gif|tiff?|avif|p[pgn]m)$/i;

const named = (file, name) => ({ file, name: name || file.name });
const isPicture = ({ file, name }) => !HIDDEN.test(name) && (file.type.startsWith("image/") || PICTURE.test(name));

export const chosen = (input) => [...input.files].map((file) => named(file, file.webkitRelativePath));

/** The dropped photos: every file that was dropped itself, and of dropped folders the files that are pictures. */
export async function dropped(transfer) {
  // The list is empty once the event is over, so take everything out of it first.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const photos = [];
  for (const { entry, file } of entries) {
    if (entry?.isDirectory) photos.push(...(await inFolder(entry)).filter(isPicture));
    else if (file) photos.push(named(file));
  }
  return photos;
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

export function size(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
