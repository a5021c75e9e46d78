import type { InkMask } from './binarise.js';

/** A connected piece of ink: its bounds (right and bottom are past the end) and its number of pixels. */
export interface Component {
  left: number;
  top: number;
  right: number;
  bottom: number;
  area: number;
}

/** The 8-connected components of a mask, by joining runs of neighbouring rows. */
export function findComponents({ width, height, runs: all }: InkMask): Component[] {
  const parent: number[] = [];
  const parts: Component[] = [];
  const rootOf = (run: number) => {
    let root = run;
    while (parent[root] !== root) root = parent[root];
    for (let at = run; parent[at] !== root; ) {
      const next = parent[at];
      parent[at] = root;
      at = next;
    }
    return root;
  };
  const join = (a: number, b: number) => {
    const to = rootOf(a);
    const from = rootOf(b);
    if (to === from) return;
    parent[from] = to;
    const into = parts[to];
    const { left, top, right, bottom, area } = parts[from];
    into.left = Math.min(into.left, left);
    into.top = Math.min(into.top, top);
    into.right = Math.max(into.right, right);
    into.bottom = Math.max(into.bottom, bottom);
    into.area += area;
  };
  // Runs of a row are [start, end, id] triples.
  let above: number[] = [];
  for (let y = 0, run = 0; y < height; y++) {
    const runs: number[] = [];
    const base = y * width;
    let first = 0;
    for (; run < all.length && all[run] < base + width; run += 2) {
      const [start, end] = [all[run] - base, all[run + 1] - base];
      const id = parts.length;
      parent.push(id);
      parts.push({ left: start, top: y, right: end, bottom: y + 1, area: end - start });
      while (first < above.length && above[first + 1] < start) first += 3;
      for (let k = first; k < above.length && above[k] <= end; k += 3) join(above[k + 2], id);
      runs.push(start, end, id);
    }
    above = runs;
  }
  return parts.filter((_, id) => parent[id] === id);
}
