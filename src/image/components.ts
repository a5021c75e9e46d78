import type { InkMask } from './binarise.js';

/** A connected piece of ink: its bounds (right and bottom are past the end) and its number of pixels. */
export interface Component {
  left: number;
  top: number;
  right: number;
  bottom: number;
  area: number;
}

/** Which runs of a mask belong together: the parent of each in a forest, whose roots are their own. */
function joinRuns(width: number, runs: Int32Array): Int32Array {
  const parent = new Int32Array(runs.length >> 1);
  // Runs of the row above from `first` on, where they have ended, and where the row itself has begun.
  let [first, end, begin, row] = [0, 0, 0, -1];
  for (let run = 0; run < parent.length; run++) {
    const [start, stop] = [runs[2 * run], runs[2 * run + 1]];
    const y = Math.floor(start / width);
    if (y !== row) {
      first = y === row + 1 ? begin : run;
      [end, begin, row] = [run, run, y];
    }
    parent[run] = run;
    while (first < end && runs[2 * first + 1] < start - width) first++;
    for (let above = first; above < end && runs[2 * above] <= stop - width; above++) {
      const [to, from] = [rootOf(parent, above), rootOf(parent, run)];
      parent[from] = to;
    }
  }
  return parent;
}

function rootOf(parent: Int32Array, run: number): number {
  let root = run;
  while (parent[root] !== root) root = parent[root];
  for (let at = run; parent[at] !== root; ) {
    const next = parent[at];
    parent[at] = root;
    at = next;
  }
  return root;
}

/** The 8-connected components of a mask, by joining runs of neighbouring rows. */
export function findComponents({ width, height, runs }: InkMask): Component[] {
  const parent = joinRuns(width, runs);
  const parts: Component[] = [];
  const partOf = new Int32Array(parent.length);
  for (let run = 0; run < parent.length; run++) {
    if (parent[run] !== run) continue;
    partOf[run] = parts.length;
    parts.push({ left: width, top: height, right: 0, bottom: 0, area: 0 });
  }
  for (let run = 0; run < parent.length; run++) {
    const part = parts[partOf[rootOf(parent, run)]];
    const y = Math.floor(runs[2 * run] / width);
    const [left, right] = [runs[2 * run] - y * width, runs[2 * run + 1] - y * width];
    if (left < part.left) part.left = left;
    if (right > part.right) part.right = right;
    if (y < part.top) part.top = y;
    part.bottom = y + 1;
    part.area += right - left;
  }
  return parts;
}
