// What can go wrong, as exceptions that a caller can tell apart by class or by `code`.
// The worker sends them as plain objects ({ code, message }); `fromPlain` makes them whole again.

/** Every exception of this package. `code` is one of the keys of `classes` below, or begins with it and a dash. */
export class RmaeError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ cause?: unknown }} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** The caller's signal aborted the request. */
export class AbortError extends RmaeError {}
/** A file could not be fetched: refused, missing, stalled, cut off. */
export class NetworkError extends RmaeError {}
/** A file is not the one that was asked for: its SHA-256 differs. */
export class IntegrityError extends RmaeError {}
/** Weights that cannot be used: another kind of file, truncated, not finite, of wrong shapes. */
export class ModelError extends RmaeError {}
/** An image that cannot be decoded, or none where one is needed. */
export class ImageError extends RmaeError {}
/** A prompt or an option that means nothing. */
export class PromptError extends RmaeError {}
/** WebGPU was refused or lost, and the CPU could not take over either. */
export class DeviceError extends RmaeError {}
/** The GPU or WebAssembly has too little memory. */
export class MemoryError extends RmaeError {}
/** The Segmenter was disposed of. */
export class DisposedError extends RmaeError {}

/** @type {Record<string, typeof RmaeError>} */
const classes = {
  abort: AbortError,
  network: NetworkError,
  integrity: IntegrityError,
  model: ModelError,
  image: ImageError,
  prompt: PromptError,
  device: DeviceError,
  memory: MemoryError,
  disposed: DisposedError,
};

/**
 * The exception of a code.
 * @param {string} code e.g. `network` or, finer, `network-stalled`
 * @param {string} message
 * @param {{ cause?: unknown }} [options]
 * @returns {RmaeError}
 */
export function failure(code, message, options) {
  const Class = classes[code.split("-")[0]] ?? RmaeError;
  return new Class(code, message, options);
}

/** @param {AbortSignal} [signal] */
export function aborted(signal) {
  const why = signal?.reason;
  // The reason that browsers put there says nothing that the code does not.
  const text = why instanceof Error && why.name !== "AbortError" ? why.message : typeof why === "string" ? why : "";
  return failure("abort", text || "The request was aborted.", { cause: why });
}

/**
 * Throws where a signal has been aborted.
 * @param {AbortSignal} [signal]
 */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw aborted(signal);
}

/**
 * What can be posted to another thread.
 * @param {unknown} error
 * @returns {{ code: string, message: string }}
 */
export function toPlain(error) {
  const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (error ?? {});
  return {
    code: typeof code === "string" ? code : "internal",
    message: typeof message === "string" ? message : String(error),
  };
}

/**
 * @param {{ code: string, message: string }} plain
 * @returns {RmaeError}
 */
export function fromPlain({ code, message }) {
  return failure(code, message);
}
