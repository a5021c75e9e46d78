import { InputError } from '../core/errors.js';
import type { Block, ProductKernel } from './kernel.js';

/** Rows that are alike. */
export interface RowGroup {
  /** By number. */
  readonly rows: readonly number[];
  /** The lowest similarity of the pairs that brought them together. */
  readonly similarity: number;
}

export interface RowReader {
  readonly count: number;
  /** Vectors of rows [start, end): [end - start, dimension]. */
  read(start: number, end: number): Promise<Float32Array>;
}

/** Vectors that are multiplied with as many others at once. */
const side = 1024;

/**
 * Groups rows whose cosine reaches the threshold, directly or through others of the group. Every pair is looked at. Throws InputError
 * for a threshold that is not in (0, 1].
 */
export async function groupDuplicates(
  kernel: ProductKernel,
  rows: RowReader,
  threshold: number,
  onProgress: (done: number) => void = () => {},
): Promise<RowGroup[]> {
  if (!(threshold > 0 && threshold <= 1)) {
    throw new InputError(`threshold: expected a cosine above 0 and at most 1, got ${threshold}`);
  }
  const groups = createGroups(rows.count);
  // Unit vectors in float32: equal ones have a product of 1 but for rounding.
  const bound = threshold - 1e-6;
  const block = kernel.block(Math.min(side, rows.count));
  for (let top = 0; top < rows.count; top += side) {
    const height = await fill(block, rows, top);
    for (let left = top; left < rows.count; left += side) {
      const width = Math.min(rows.count, left + side) - left;
      const products = await block.products(await rows.read(left, left + width)); // [side, width]
      for (let i = 0; i < height; i++) {
        for (let j = left === top ? i + 1 : 0; j < width; j++) {
          const similarity = products[i * width + j];
          if (similarity >= bound) groups.join(top + i, left + j, similarity);
        }
      }
    }
    onProgress(top + height);
  }
  return groups.list();
}

async function fill(block: Block, rows: RowReader, start: number): Promise<number> {
  const part = await rows.read(start, Math.min(rows.count, start + side));
  block.rows.set(part);
  return (part.length / block.rows.length) * block.count;
}

/** Union of rows; the root of a group is its lowest row. */
function createGroups(count: number) {
  const parents = Uint32Array.from({ length: count }, (_, i) => i);
  const lowest = new Float32Array(count).fill(1);
  const rootOf = (row: number): number => {
    while (parents[row] !== row) {
      parents[row] = parents[parents[row]];
      row = parents[row];
    }
    return row;
  };
  return {
    join: (a: number, b: number, similarity: number) => {
      const [low, high] = [rootOf(a), rootOf(b)].sort((x, y) => x - y);
      if (low === high) return;
      parents[high] = low;
      lowest[low] = Math.min(lowest[low], lowest[high], similarity);
    },
    list: (): RowGroup[] => {
      const members = new Map<number, number[]>();
      for (let row = 0; row < count; row++) {
        const root = rootOf(row);
        const known = members.get(root);
        if (known) known.push(row);
        else members.set(root, [row]);
      }
      return [...members]
        .filter(([, rows]) => rows.length > 1)
        .map(([root, rows]) => ({ rows, similarity: lowest[root] }));
    },
  };
}
