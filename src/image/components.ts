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
export function findComponents({ width, height, data }: InkMask): Component[] {
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
  for (let y = 0; y < height; y++) {
    const runs: number[] = [];
    const base = y * width;
    let first = 0;
    for (let x = 0; x < width; x++) {
      if (data[base + x] === 0) continue;
      const start = x;
      while (x < width && data[base + x] === 1) x++;
      const id = parts.length;
      parent.push(id);
      parts.push({ left: start, top: y, right: x, bottom: y + 1, area: x - start });
      while (first < above.length && above[first + 1] < start) first += 3;
      for (let k = first; k < above.length && above[k] <= x; k += 3) join(above[k + 2], id);
      runs.push(start, x, id);
    }
    above = runs;
  }
  return parts.filter((_, id) => parent[id] === id);
}
