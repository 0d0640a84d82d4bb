import { Segmenter } from "./index.js";

const [picker, canvas, status] = ["photo", "canvas", "status"].map((id) => document.getElementById(id));
const weights = new URLSearchParams(location.search).get("weights") ?? "rmae-ti.safetensors";
const say = ({ message }) => (status.textContent = message);
const segmenter = await Segmenter.load(weights, { onProgress: say }).catch(say);

picker.onchange = async () => {
  const bitmap = await createImageBitmap(picker.files[0]);
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  await segmenter.setImage(bitmap).catch(say);
  status.textContent = "Click on something.";
};

canvas.onclick = async ({ offsetX: x, offsetY: y }) => {
  const { mask, score, ms } = await segmenter.predict({ points: [{ x, y }] });
  const { data } = new ImageData(mask.width, mask.height);
  mask.data.forEach((inside, at) => data.set([255, 96, 0, inside / 2], 4 * at));
  canvas.getContext("2d").drawImage(await createImageBitmap(new ImageData(data, mask.width)), 0, 0);
  status.textContent = `Confidence ${score.toFixed(2)}, ${ms.toFixed(0)} ms.`;
};
