// Reordering a list by dragging, with a mouse or a finger. Keyboards have buttons for it.

/**
 * @param {HTMLElement} list whose items have `data-id` and a handle `.object-drag`
 * @param {{ move(id: number, to: number): void }} actions
 */
export function orderByDragging(list, actions) {
  list.addEventListener("pointerdown", (event) => {
    const handle = event.target instanceof Element ? event.target.closest(".object-drag") : null;
    const item = handle?.closest("li");
    if (!(item instanceof HTMLElement) || event.button !== 0) return;
    event.preventDefault();
    drag(list, item, event, actions);
  });
}

/** @param {HTMLElement} list @param {HTMLElement} item @param {PointerEvent} start @param {{ move(id: number, to: number): void }} actions */
function drag(list, item, start, actions) {
  const items = /** @type {HTMLElement[]} */ ([...list.children]);
  const from = items.indexOf(item);
  const middles = items.map((other) => other.offsetTop + other.offsetHeight / 2);
  const step = item.offsetHeight + 6;
  let to = from;
  list.setPointerCapture(start.pointerId);
  item.classList.add("dragged");

  /** @param {PointerEvent} event */
  function move(event) {
    const dy = event.clientY - start.clientY;
    // The edge that goes ahead passes the middles of the others.
    const edge = item.offsetTop + dy + (dy > 0 ? item.offsetHeight : 0);
    to = middles.filter((other, index) => index !== from && other < edge).length;
    item.style.transform = `translateY(${dy}px)`;
    items.forEach((other, index) => {
      if (index === from) return;
      const shift = index > from && index <= to ? -step : index < from && index >= to ? step : 0;
      other.style.transform = shift ? `translateY(${shift}px)` : "";
    });
  }

  /** @param {PointerEvent} event */
  function end(event) {
    list.removeEventListener("pointermove", move);
    list.removeEventListener("pointerup", end);
    list.removeEventListener("pointercancel", end);
    item.classList.remove("dragged");
    for (const other of items) other.style.transform = "";
    if (event.type === "pointerup" && to !== from) actions.move(Number(item.dataset.id), to);
  }

  list.addEventListener("pointermove", move);
  list.addEventListener("pointerup", end);
  list.addEventListener("pointercancel", end);
}
