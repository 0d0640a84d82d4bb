// One session in the browser's own store. Private windows may have none: then nothing is kept, and nothing is said.

import { VERSION } from "./session-file.js";

/** @typedef {{ savedAt: number, blob: Blob, document: import("./store.js").Document }} Last */

const [NAME, STORE, KEY] = ["rmae-page", "sessions", "last"];

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab holds the store"));
  });
}

/**
 * @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} act @returns {Promise<T | null>} null where the browser keeps nothing
 */
async function within(mode, act) {
  try {
    const database = await open();
    try {
      return await new Promise((resolve, reject) => {
        const transaction = database.transaction(STORE, mode);
        const request = act(transaction.objectStore(STORE));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onerror = transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  } catch (error) {
    console.info("This browser keeps no session:", error);
    return null;
  }
}

/** @param {Last} last */
export const put = (last) => within("readwrite", (store) => store.put({ version: VERSION, ...last }, KEY));

export const clear = () => within("readwrite", (store) => store.delete(KEY));

/** @returns {Promise<Last | null>} */
export async function get() {
  const last = await within("readonly", (store) => store.get(KEY));
  return last?.version === VERSION && last.blob instanceof Blob && last.document?.image ? last : null;
}
