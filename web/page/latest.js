// Work of which only the newest wish counts: while one run is under way, at most one more waits.

/**
 * @template W, R
 * @param {(wish: W) => Promise<R>} run @param {{ done: (result: R, wish: W) => void, failed: (error: unknown) => void, busy?: (busy: boolean) => void }} tell
 *   `done` hears of a result only if nothing newer was wished for or cancelled since
 */
export function latest(run, { done, failed, busy = () => {} }) {
  /** @type {{ wish: W } | null} */
  let waiting = null;
  let [running, turn] = [false, 0];

  async function pump() {
    if (running) return;
    running = true;
    busy(true);
    while (waiting) {
      const { wish } = waiting;
      const mine = turn;
      waiting = null;
      try {
        const result = await run(wish);
        if (mine === turn) done(result, wish);
      } catch (error) {
        if (mine === turn) failed(error);
      }
    }
    running = false;
    busy(false);
  }

  return {
    /** @param {W} wish */
    ask(wish) {
      turn += 1;
      waiting = { wish };
      void pump();
    },
    /** What is under way will not be heard of. */
    cancel() {
      turn += 1;
      waiting = null;
    },
    get running() {
      return running;
    },
  };
}
