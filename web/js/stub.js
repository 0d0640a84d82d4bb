// Stands in for the WebAssembly engine until its bindings are built: discs around clicks, no model.
// Removed together with its use in session.js.

export class Engine {
  static async create() {
    return new Engine();
  }
  model() {
    return JSON.stringify({ preset: "ti", imgSize: 224, patchSize: 16, depth: 12, heads: 3, parameters: 8_000_000, pixels: true, regions: true });
  }
  beginImage(width, height) {
    [this.width, this.height] = [width, height];
  }
  pushRows() {}
  async finishImage() {
    await new Promise((resume) => setTimeout(resume, 300));
  }
  workingImage() {
    return { width: this.width, height: this.height, data: new Uint8Array(0) };
  }
  async restoreImage(width, height) {
    [this.width, this.height] = [width, height];
  }
  async predict(prompts, masks, options) {
    const { maxSide, granularity } = JSON.parse(options);
    const scale = Math.min(1, (maxSide ?? Infinity) / Math.max(this.width, this.height));
    const [width, height] = [this.width, this.height].map((side) => Math.max(1, Math.round(side * scale)));
    return JSON.parse(prompts).map((object) => {
      const data = new Uint8Array(width * height);
      const radius = Math.hypot(width, height) * 0.1 * (1 + granularity / 2);
      const disc = (x, y, r, value) => {
        for (let row = Math.max(0, Math.floor(y - r)); row < Math.min(height, y + r); row++)
          for (let column = Math.max(0, Math.floor(x - r)); column < Math.min(width, x + r); column++)
            if (Math.hypot(column + 0.5 - x, row + 0.5 - y) < r) data[row * width + column] = value;
      };
      for (const { x0, y0, x1, y1 } of object.boxes)
        disc(((x0 + x1) * scale) / 2, ((y0 + y1) * scale) / 2, (Math.min(x1 - x0, y1 - y0) * scale) / 2, 255);
      for (const { points, width: line = 20, positive } of object.scribbles)
        for (const [x, y] of points) disc(x * scale, y * scale, (line * scale) / 2, positive ? 255 : 0);
      for (const { x, y, positive } of object.clicks) disc(x * scale, y * scale, positive ? radius : radius / 2, positive ? 255 : 0);
      const area = data.reduce((sum, value) => sum + value / 255, 0);
      let box = null;
      data.forEach((value, at) => {
        if (!value) return;
        const [x, y] = [at % width, Math.floor(at / width)];
        box = box ? [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x + 1), Math.max(box[3], y + 1)] : [x, y, x + 1, y + 1];
      });
      return { width, height, data, score: 0.5, area, box };
    });
  }
  async attention(x, y, layer, head) {
    const values = new Float32Array(196).map((_, at) => 1 / (1 + Math.hypot((at % 14) - (14 * x) / this.width, Math.floor(at / 14) - (14 * y) / this.height)));
    return { width: 14, height: 14, values, layer: layer ?? 11, heads: 3, layers: 12 };
  }
  async reconstruct() {
    const grey = () => new Uint8ClampedArray(4 * 224 * 224).fill(160);
    return { side: 224, masked: grey(), reconstruction: grey(), regions: [{ shown: grey(), completed: grey(), truth: grey() }] };
  }
  regions(scale) {
    const [width, height, cell] = [this.width, this.height, Math.max(8, Math.round(scale / 8))];
    const columns = Math.ceil(width / cell);
    const labels = new Uint32Array(width * height).map((_, at) => Math.floor(Math.floor(at / width) / cell) * columns + Math.floor((at % width) / cell));
    return { width, height, labels, count: columns * Math.ceil(height / cell) };
  }
  export(format, name, objects, masks) {
    if (format === "labelmap") return { width: this.width, height: this.height, labels: new Uint16Array(this.width * this.height) };
    return format === "svg" ? '<svg xmlns="http://www.w3.org/2000/svg"/>' : JSON.stringify({ images: [], annotations: JSON.parse(objects) });
  }
  free() {}
}
