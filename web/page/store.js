// What the visitor has made (the document, undoable) and how it is looked at (the view, not undoable).
//
// A document is never changed in place: `dispatch` works on a copy, so that an undo is a return to an
// older value. Masks and photos are not in here; they are made again from the prompts (see engine.js).

/**
 * @typedef {{ x: number, y: number, positive: boolean, radius?: number }} Point image pixels
 * @typedef {{ x0: number, y0: number, x1: number, y1: number }} Box
 * @typedef {{ points: [number, number][], width: number, positive: boolean }} Scribble
 * @typedef {{ width: number, height: number, data: Uint8Array }} Mask 0 or 255, row-major; never written to
 * @typedef {{ points: Point[], boxes: Box[], scribbles: Scribble[], mask: Mask | null }} Prompts
 * @typedef {{ score: number, area: number, box: [number, number, number, number] | null }} ObjectResult
 * @typedef {{ id: number, name: string, colour: string, visible: boolean, prompts: Prompts, granularity: number, result: ObjectResult | null }} PromptedObject
 * @typedef {{ name: string, width: number, height: number, key?: string }} ImageInfo
 * @typedef {{ image: ImageInfo | null, objects: PromptedObject[], activeId: number | null, nextId: number }} Document
 * @typedef {{
 *   tool: 'click' | 'box' | 'brush' | 'pan', sign: boolean, brush: number, granularity: number,
 *   zoom: number, panX: number, panY: number,
 *   theme: 'auto' | 'light' | 'dark', panel: string, sheet: boolean, start: boolean,
 *   busy: '' | 'load' | 'open' | 'encode' | 'predict', device: any, model: any, progress: any, error: any,
 *   encodeMs: number | null, predictMs: number | null, bytes: number | null,
 * }} View
 * @typedef {{ document: Document, view: View, canUndo: boolean, canRedo: boolean, undoLabel: string, redoLabel: string }} State
 * @typedef {{ document: boolean, view: (keyof View)[], reason: 'dispatch' | 'undo' | 'redo' | 'open' | 'patch' | 'view', label: string }} Change
 */

/** Steps that are kept for each image. */
export const HISTORY = 500;
/** Images whose documents are remembered while the page is open. */
const IMAGES = 12;
/** Two changes with the same `merge` key within this time are one step. */
const MERGE_MS = 1200;

/** Told apart on most photos, and from each other by most colour-blind people. */
export const COLOURS = ["#ff7043", "#29b6f6", "#ffd54f", "#ab7df6", "#4cd08a", "#ff5fa2", "#b0d64a", "#5c8dff", "#f4a259"];

/** @returns {Prompts} */
export const noPrompts = () => ({ points: [], boxes: [], scribbles: [], mask: null });

/** @param {Prompts} prompts */
export function isEmpty({ points, boxes, scribbles, mask }) {
  return points.length + boxes.length + scribbles.length === 0 && !mask;
}

/** @param {ImageInfo | null} [image] @returns {Document} */
export const emptyDocument = (image = null) => ({ image, objects: [], activeId: null, nextId: 1 });

/** @returns {View} */
const firstView = () => ({
  tool: "click", sign: true, brush: 18, granularity: 0, zoom: 1, panX: 0, panY: 0,
  theme: "auto", panel: "objects", sheet: false, start: true,
  busy: "", device: null, model: null, progress: null, error: null,
  encodeMs: null, predictMs: null, bytes: null,
});

/**
 * A copy that can be changed. Bytes of masks are shared: they are never written to.
 * @template T @param {T} value @returns {T}
 */
export function copy(value) {
  if (Array.isArray(value)) return /** @type {any} */ (value.map(copy));
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  return /** @type {any} */ (Object.fromEntries(Object.entries(value).map(([name, part]) => [name, copy(part)])));
}

/**
 * `after` with every part that is as it was before replaced by that one, so that hundreds of states of a
 * document with long scribbles are not hundreds of copies of them.
 * @template T @param {any} before @param {T} after @returns {T}
 */
export function shared(before, after) {
  if (before === after || before === null || after === null || typeof before !== "object" || typeof after !== "object") return after;
  if (ArrayBuffer.isView(after) || Array.isArray(before) !== Array.isArray(after)) return after;
  const [old, now] = [Object.keys(before), Object.keys(after)];
  const made = /** @type {any} */ (after);
  let same = old.length === now.length;
  for (const name of now) {
    made[name] = shared(before[name], made[name]);
    same &&= Object.is(made[name], before[name]);
  }
  return same ? before : after;
}

/**
 * Adds an object to a draft and makes it the active one.
 * @param {Document} draft @param {Partial<PromptedObject>} [given] @returns {PromptedObject}
 */
export function addObject(draft, given = {}) {
  const id = draft.nextId++;
  const used = new Set(draft.objects.map((object) => object.colour));
  const colour = COLOURS.find((candidate) => !used.has(candidate)) ?? COLOURS[(id - 1) % COLOURS.length];
  const object = { name: `Object ${id}`, colour, visible: true, granularity: 0, result: null, ...given, id, prompts: given.prompts ?? noPrompts() };
  draft.objects.push(object);
  draft.activeId = id;
  return object;
}

/** @param {Document} document @returns {PromptedObject | null} */
export const activeObject = (document) => document.objects.find(({ id }) => id === document.activeId) ?? null;

/** The history of one image. */
class History {
  /** @param {Document} document */
  constructor(document) {
    this.document = document;
    /** @type {{ label: string, document: Document }[]} */
    this.past = [];
    /** @type {{ label: string, document: Document }[]} */
    this.future = [];
    this.merge = { key: "", at: 0 };
  }

  /** @param {string} label @param {Document} next @param {string} key @param {number} now */
  push(label, next, key, now) {
    const merged = key !== "" && key === this.merge.key && now - this.merge.at < MERGE_MS && this.past.length > 0;
    if (!merged) this.past.push({ label, document: this.document });
    if (this.past.length > HISTORY) this.past.shift();
    this.future = [];
    this.merge = { key, at: now };
    this.document = next;
  }

  /** @param {'past' | 'future'} from @param {'past' | 'future'} to */
  step(from, to) {
    const entry = this[from].pop();
    if (!entry) return null;
    this[to].push({ label: entry.label, document: this.document });
    this.document = entry.document;
    this.merge = { key: "", at: 0 };
    return entry.label;
  }

  /** Changes that are no step of their own, also in older states, so that an undo keeps them. @param {(d: Document) => Document} change */
  patch(change) {
    this.document = change(this.document);
  }
}

/** @param {{ now?: () => number }} [options] */
export function createStore({ now = () => performance.now() } = {}) {
  /** @type {Map<string, History>} */
  const histories = new Map();
  let history = new History(emptyDocument());
  let view = firstView();
  /** @type {State | null} */
  let state = null;
  /** @type {Set<(state: State, change: Change) => void>} */
  const listeners = new Set();

  /** @returns {State} */
  function get() {
    const label = (/** @type {{ label: string }[]} */ list) => list.at(-1)?.label ?? "";
    state ??= {
      document: history.document, view,
      canUndo: history.past.length > 0, canRedo: history.future.length > 0,
      undoLabel: label(history.past), redoLabel: label(history.future),
    };
    return state;
  }

  /** @param {Partial<Change>} change */
  function tell(change) {
    state = null;
    const whole = { document: true, view: [], reason: /** @type {const} */ ("dispatch"), label: "", ...change };
    for (const listener of [...listeners]) listener(get(), whole);
  }

  /** @param {'undo' | 'redo'} reason */
  function travel(reason) {
    const label = reason === "undo" ? history.step("past", "future") : history.step("future", "past");
    if (label !== null) tell({ reason, label });
    return label;
  }

  return {
    get,

    /**
     * One undoable step. `mutate` changes a copy; returning `false` drops it. Steps with the same
     * `merge` key in quick succession (typing, wheel) become one.
     * @param {string} label as it reads after "Undo " @param {(draft: Document) => unknown} mutate @param {{ merge?: string }} [options]
     */
    dispatch(label, mutate, { merge = "" } = {}) {
      const draft = copy(history.document);
      if (mutate(draft) === false) return false;
      history.push(label, shared(history.document, draft), merge, now());
      tell({ label });
      return true;
    },

    /** A change of the document that is no step: a result that came in, another active object. @param {(draft: Document) => unknown} mutate */
    patch(mutate) {
      const draft = copy(history.document);
      if (mutate(draft) === false) return;
      history.patch((before) => shared(before, draft));
      tell({ reason: "patch" });
    },

    /**
     * Another image: its document and history come back if it was open before.
     * @param {ImageInfo} image @param {Document} [document] what to start from instead, e.g. a session's
     */
    open(image, document) {
      const key = image.key ?? `${image.name}:${image.width}x${image.height}`;
      history = (!document && histories.get(key)) || new History(document ? copy({ ...document, image }) : emptyDocument(image));
      histories.delete(key);
      histories.set(key, history);
      if (histories.size > IMAGES) histories.delete(/** @type {string} */ (histories.keys().next().value));
      tell({ reason: "open", label: image.name });
    },

    /** @param {Partial<View>} patch */
    setView(patch) {
      const changed = /** @type {(keyof View)[]} */ (Object.keys(patch)).filter((name) => !Object.is(view[name], patch[name]));
      if (changed.length === 0) return;
      view = { ...view, ...patch };
      tell({ document: false, view: changed, reason: "view" });
    },

    /** @returns {string | null} the label of the step that was taken back */
    undo: () => travel("undo"),
    /** @returns {string | null} */
    redo: () => travel("redo"),

    /** @param {(state: State, change: Change) => void} listener @returns {() => void} stops it */
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** @typedef {ReturnType<typeof createStore>} Store */

export const store = createStore();
