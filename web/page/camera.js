// A still from the camera. Phones hand over to their own camera; others show the picture in a dialog.

import { el, icon } from "./dom.js";
import { pick } from "./files.js";

/** @typedef {import("./app.js").App} App */

/** @type {Record<string, string>} */
const TROUBLE = {
  NotAllowedError: "The camera was not allowed. Allow it in the browser's address bar, then try again.",
  NotFoundError: "There is no camera here.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "This camera cannot take a photo of a useful size.",
  SecurityError: "The browser gives no camera to this page.",
};

/** @returns {boolean} whether the device's own camera app is the better way */
const isPhone = () => matchMedia("(pointer: coarse) and (hover: none)").matches;

/** @param {App} app @returns {Promise<Blob | null>} */
export async function takePhoto(app) {
  if (isPhone()) return pick({ accept: "image/*", capture: "environment" });
  if (!navigator.mediaDevices?.getUserMedia) {
    app.toast({ kind: "error", id: "camera", text: "The browser gives the camera only to pages of https addresses." });
    return null;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { facingMode: "environment", width: { ideal: 1920 } } });
    return await still(stream);
  } catch (error) {
    const { name, message } = /** @type {DOMException} */ (error);
    app.toast({ kind: "error", id: "camera", text: TROUBLE[name] ?? `The camera does not work: ${message}` });
    return null;
  }
}

/** Shows the camera's picture until the visitor takes it or leaves. @param {MediaStream} stream @returns {Promise<Blob | null>} */
async function still(stream) {
  const video = el("video", { class: "camera-view", autoplay: true, muted: true, playsInline: true, srcObject: stream, "aria-label": "What the camera sees" });
  const shoot = el("button", { type: "button", class: "button primary", "data-testid": "camera-shoot", disabled: true }, icon("camera"), "Take the photo");
  const cancel = el("button", { type: "button", class: "button" }, "Cancel");
  const dialog = el("dialog", { class: "camera", "aria-label": "Camera" }, video, el("div", { class: "dialog-actions" }, cancel, shoot));
  video.addEventListener("playing", () => (shoot.disabled = false));
  document.body.append(dialog);
  dialog.showModal();
  try {
    return await new Promise((resolve, reject) => {
      cancel.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => resolve(null));
      stream.getVideoTracks()[0]?.addEventListener("ended", () => reject(new Error("it was unplugged.")));
      shoot.addEventListener("click", () => grab(video).then(resolve, reject));
    });
  } finally {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  }
}

/** @param {HTMLVideoElement} video @returns {Promise<Blob>} */
async function grab(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("it gave no picture."))), "image/jpeg", 0.95);
  });
}
