/** Promptable segmentation with R-MAE, in one Web Worker of this page: nothing leaves the machine. */

/** `auto`: WebGPU on a real GPU, else the CPU. `webgpu` takes a software adapter too. */
export type Device = 'auto' | 'webgpu' | 'cpu';

export interface Progress {
  stage: 'code' | 'weights' | 'check' | 'compile' | 'ready' | 'encode';
  /** Bytes so far, and in all where that is known. */
  loaded?: number;
  total?: number;
  /** Whether the weights came from an earlier visit. */
  cached?: boolean;
  /** One line for people. */
  message: string;
}

export interface LoadOptions {
  onProgress?(progress: Progress): void;
  device?: Device;
  signal?: AbortSignal;
  /** SHA-256 of the weights, hexadecimal: checked before they are used or cached. */
  sha256?: string;
  /** Whether weights are kept for the next visit; they are, unless this is false. */
  cache?: boolean;
  /** What to call the weights in messages and in `model.name`. */
  name?: string;
  /** The folder of worker.js and of rmae/, where they are not beside the package's index.js. */
  base?: string | URL;
  /** Address of the WebAssembly module's JavaScript and code, where a bundler moved them. */
  module?: string | URL;
  wasm?: string | URL;
  /** Address of glance.bin, where it is not beside the package's index.js; without it masks are worse. */
  glance?: string | URL;
  /** Milliseconds without a byte after which a download counts as stalled; 20,000 unless told. */
  stallTimeout?: number;
}

/** A click. Coordinates here and below are pixels of the upright image; (0, 0) is its upper left corner. */
export interface Point { x: number; y: number; positive?: boolean; radius?: number }
export interface Box { x0: number; y0: number; x1: number; y1: number }
export interface Scribble { points: [number, number][]; width?: number; positive?: boolean }
/** One byte a pixel, 0 or 255, row by row. */
export interface Mask { width: number; height: number; data: Uint8Array }
/** What is said of one object: any mix, at least one. */
export interface Prompts { points?: Point[]; box?: Box; boxes?: Box[]; scribbles?: Scribble[]; mask?: Mask }

export interface PredictOptions {
  /** -1: the part under the click; 1: the whole that it belongs to; 0 unless told. */
  granularity?: number;
  refine?: { edges?: 'off' | 'guided' | 'graphcut'; connected?: boolean; holes?: boolean };
  /** The mask's longer side at most; the image's own resolution unless told. */
  maxSide?: number;
  /** Whether to look again, closer, at a small object, which costs another encode; false unless told. */
  crop?: boolean;
  /** Whether the result has the model's logits; false unless told. */
  logits?: boolean;
  signal?: AbortSignal;
}

export interface Result {
  mask: Mask;
  /** Overlap (intersection over union) with what is meant that is to be expected, 0 to 1. */
  score: number;
  /** Pixels of the mask. */
  area: number;
  /** x0, y0, x1, y1 around the mask's pixels; null when there are none. */
  box: [number, number, number, number] | null;
  ms: number;
  /** Before refinement, where asked for: positive is inside. They lie over `box`, pixels of the image. */
  logits?: { side: number; data: Float32Array; box: [number, number, number, number] };
}

/** The granularity does not count; all that is wanted are masks, so logits are not given either. */
export type CandidateOptions = Omit<PredictOptions, 'granularity' | 'logits'>;
/** One mask to choose from; asking for its granularity gives it again. */
export interface Candidate extends Result { granularity: number }

export interface DeviceInfo {
  kind: 'webgpu' | 'cpu';
  name: string;
  /** Whether WebGPU is simulated on the processor. */
  software: boolean;
  /** Why this one, for people. */
  reason: string;
  available: { webgpu: boolean; software: boolean; why?: string };
}

export interface ModelInfo {
  name: string;
  /** The preset whose encoder it has (`ti`, `s`, `b`, `l`, `h`), or `custom`. */
  preset: string;
  imgSize: number;
  patchSize: number;
  depth: number;
  heads: number;
  parameters: number;
  /** Size of the file. */
  bytes: number;
  /** Whether it reconstructs pixels, and whether it completes regions (predict needs that). */
  pixels: boolean;
  regions: boolean;
  /** Whether glance.bin was found; without it masks are worse. */
  glance: boolean;
}

export interface ImageInfo { width: number; height: number; ms: number }
/** The encoder's output, `tokens` rows of `width`: the class token, then a token a patch, row by row. */
export interface Embedding { tokens: number; width: number; data: Float32Array }
export interface AttentionMap { width: number; height: number; values: Float32Array; layer: number; heads: number; layers: number }
export interface Reconstruction {
  side: number;
  masked: ImageData;
  reconstruction: ImageData | null;
  regions: { shown: ImageData; completed: ImageData; truth: ImageData }[];
}
export interface RegionMap { width: number; height: number; labels: Uint32Array; count: number }
export interface ExportObject { name: string; colour?: string; mask: Mask; score?: number; category?: string }
export interface LabelMap { width: number; height: number; labels: Uint16Array }
/** `lastModelMs` is the model's share of `lastEncodeMs`. */
export interface Stats { wasmBytes: number; handles: number; lastEncodeMs: number; lastModelMs: number; lastPredictMs: number }

/** `detail` of a `device` event: the new device; its `reason` says why it changed. */
export type DeviceEvent = CustomEvent<DeviceInfo>;
/** `detail` of a `status` event. */
export type StatusEvent = CustomEvent<{ stage: string; message: string }>;

export type ImageSource = ImageBitmap | ImageData | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | Blob;

/**
 * One model on one device with one image. Requests run one after the other; aborting a request's
 * signal rejects it at once, whether it has begun or not.
 */
export class Segmenter extends EventTarget {
  static load(weights: string | URL | Blob | ArrayBuffer, options?: LoadOptions): Promise<Segmenter>;
  private constructor();
  readonly device: DeviceInfo;
  readonly model: ModelInfo;
  readonly image: { width: number; height: number } | null;
  /** Encodes an image, which later requests are about. The source stays the caller's. */
  setImage(source: ImageSource, options?: { signal?: AbortSignal }): Promise<ImageInfo>;
  predict(prompts: Prompts, options?: PredictOptions): Promise<Result>;
  /** Several objects in one pass. */
  predict(prompts: Prompts[], options?: PredictOptions): Promise<Result[]>;
  /** Masks of one object from a part to the whole thing, each clearly unlike the one before, to choose from. */
  candidates(prompts: Prompts, options?: CandidateOptions): Promise<Candidate[]>;
  /** What the encoder makes of the image. */
  embedding(): Promise<Embedding>;
  /** How much the patch under a point attends to every other; `layer` counts from 0, the last unless told. */
  attention(o: { x: number; y: number; layer?: number; head?: number | 'mean' }): Promise<AttentionMap>;
  /** Masks the image, and lets the model fill in what is missing. */
  reconstruct(o: { maskRatio: number; seed?: number }): Promise<Reconstruction>;
  /** Felzenszwalb-Huttenlocher segments of the image; `labels` has the size that it says. */
  regions(o: { scale: number }): Promise<RegionMap>;
  export(o: { format: 'coco' | 'svg'; name?: string; objects: ExportObject[] }): Promise<string>;
  export(o: { format: 'labelmap'; name?: string; objects: ExportObject[] }): Promise<LabelMap>;
  export(o: { format: 'coco' | 'svg' | 'labelmap'; name?: string; objects: ExportObject[] }): Promise<string | LabelMap>;
  /** Other weights, the same image. When they cannot be used, the old ones stay. */
  replaceWeights(weights: string | URL | Blob | ArrayBuffer, options?: LoadOptions): Promise<ModelInfo>;
  /** Another device, the same weights and image. When it cannot be used, the old one stays. */
  setDevice(device: Device): Promise<DeviceInfo>;
  stats(): Promise<Stats>;
  /** Ends the worker; requests that are under way are rejected with a DisposedError. */
  dispose(): void;

  addEventListener(type: 'device', listener: (event: DeviceEvent) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: 'status', listener: (event: StatusEvent) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** Every exception of this package; `code` is finer than the class. */
export class RmaeError extends Error {
  constructor(code: string, message: string, options?: { cause?: unknown });
  readonly code: string;
}
export class AbortError extends RmaeError {}
export class NetworkError extends RmaeError {}
export class IntegrityError extends RmaeError {}
export class ModelError extends RmaeError {}
export class ImageError extends RmaeError {}
export class PromptError extends RmaeError {}
export class DeviceError extends RmaeError {}
export class MemoryError extends RmaeError {}
export class DisposedError extends RmaeError {}
