// The address's `?image=`: a picture of this site, or one that is written into the address.

import { Refused } from "./files.js";

/**
 * What `?image=` asks for.
 * @param {string} value @param {string | URL} base the page's address
 * @returns {{ kind: 'fetch', url: URL, name: string } | { kind: 'data', blob: Blob, name: string } | { kind: 'blob', url: URL, name: string } | { kind: 'refused', reason: string }}
 */
export function imageAsked(value, base) {
  let url;
  try {
    url = new URL(value, base);
  } catch {
    return { kind: "refused", reason: `“${shorten(value)}” is no address of a picture.` };
  }
  if (url.protocol === "data:") return fromData(url.href);
  if (url.protocol === "blob:") return { kind: "blob", url, name: "photo.png" };
  if (!["http:", "https:"].includes(url.protocol)) return { kind: "refused", reason: `This page opens no addresses that begin with “${url.protocol}”.` };
  if (url.origin !== new URL(base).origin) {
    const reason = `This page loads nothing from other sites, not even ${url.host}: so nothing can leak. Save the picture, then drop it here.`;
    return { kind: "refused", reason };
  }
  return { kind: "fetch", url, name: decoded(url.pathname.split("/").at(-1) || "photo") };
}

/** @param {string} text which may be no valid encoding */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Data addresses are read here: the page's security policy lets nothing fetch them. @param {string} href */
function fromData(href) {
  const match = /^data:([^,]*),(.*)$/s.exec(href);
  const [type, ...options] = (match?.[1] ?? "").split(";");
  try {
    if (!match) throw new Error();
    const text = options.includes("base64") ? atob(decodeURIComponent(match[2])) : decodeBytes(match[2]);
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    return { kind: /** @type {const} */ ("data"), blob: new Blob([bytes], { type }), name: `photo.${type.split("/")[1] || "png"}` };
  } catch {
    return { kind: /** @type {const} */ ("refused"), reason: "The picture in this page's address is damaged." };
  }
}

/** @param {string} text percent-encoded bytes */
const decodeBytes = (text) => text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));

/** @param {string} text */
const shorten = (text) => (text.length > 60 ? `${text.slice(0, 57)}…` : text);

/** @param {ReturnType<typeof imageAsked>} asked @returns {Promise<{ blob: Blob, name: string }>} */
export async function load(asked) {
  if (asked.kind === "refused") throw new Refused(asked.reason);
  if (asked.kind === "data") return asked;
  if (asked.kind === "blob") return { blob: await redraw(asked.url.href), name: asked.name };
  const response = await fetch(asked.url).catch(() => null);
  if (!response) throw new Refused(`${asked.name} could not be loaded: there is no connection.`);
  if (!response.ok) throw new Refused(`${asked.name} is not on this site (the server answered ${response.status}).`);
  return { blob: await response.blob(), name: asked.name };
}

/** An image of a blob address, which may not be fetched, by way of a canvas. @param {string} src @returns {Promise<Blob>} */
async function redraw(src) {
  const image = new Image();
  image.src = src;
  await image.decode().catch(() => {
    throw new Refused("The picture that this page's address points to is gone. It lived only as long as the page that made it.");
  });
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  canvas.getContext("2d")?.drawImage(image, 0, 0);
  return canvas.convertToBlob();
}
