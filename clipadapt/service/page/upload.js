// A person's own picture: made small here, and kept in this browser until the tab is closed.
//
// The address names a picture by a key; the picture itself never gets into an address. The service only sees it as part
// of a search.

const SIDE = 768; // of the longer side in pixels: more than any of the models looks at
const KEPT = 8;
const PREFIX = "picture:";

/** Keeps a file as a small JPEG and gives its key. Throws with words for the person. */
export async function keep(file) {
  if (file.type && !file.type.startsWith("image/")) throw new Error(`“${file.name}” is not a picture.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("This browser cannot read that picture. Try a JPEG, PNG or WebP file.");
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // behind a transparent cut-out, as in most catalogues
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const url = canvas.toDataURL("image/jpeg", 0.92);
  const key = crypto.getRandomValues(new Uint32Array(2)).reduce((text, part) => text + part.toString(36), "");
  store(key, url);
  return key;
}

/** The data URL of a kept picture, or null. */
export const kept = (key) => sessionStorage.getItem(PREFIX + key);

/** The picture as it is sent, or null. */
export function blob(key) {
  const url = kept(key);
  if (!url) return null;
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/jpeg" });
}

function store(key, url) {
  const order = JSON.parse(sessionStorage.getItem("pictures") ?? "[]");
  const drop = () => sessionStorage.removeItem(PREFIX + order.shift());
  while (order.length >= KEPT) drop();
  for (;;) {
    try {
      sessionStorage.setItem(PREFIX + key, url);
      break;
    } catch (error) {
      if (!order.length) throw new Error("This browser has no room to keep the picture.", { cause: error });
      drop();
    }
  }
  sessionStorage.setItem("pictures", JSON.stringify([...order, key]));
}

/** The first picture among what was dropped or pasted, or null. */
export function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;
}
