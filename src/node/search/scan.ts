import type { Block, ProductKernel } from '../../search/kernel.js';
import type { TopScores } from '../../search/top.js';
import { createPauses } from '../pauses.js';

/** Rows of a block that are multiplied at once. */
const blockRows = 1 << 16;

/** A scan of every vector from some row on. */
export interface Scan {
  /** Offers the accepted rows up to `end`. */
  search(query: Float32Array, end: number, accept: (row: number) => boolean, best: TopScores): Promise<void>;
}

/** Vectors from row `start` on, kept in memory in blocks once they have been asked for. Rows do not change; there may be more. */
export function createScan(
  kernel: ProductKernel,
  start: number,
  read: (start: number, end: number) => Float32Array,
): Scan {
  interface Kept {
    readonly block: Block;
    /** Rows of the block that are filled. */
    filled: number;
  }
  const blocks: Kept[] = [];
  const blockFor = (index: number, rows: number): Kept => {
    const kept = blocks[index];
    if (kept && kept.block.count >= rows) return kept;
    // Blocks grow fourfold: few sizes are ever made while an index grows.
    let count = 1024;
    while (count < rows) count *= 4;
    blocks[index] = { block: kernel.block(count), filled: 0 };
    return blocks[index];
  };
  return {
    search: async (query, end, accept, best) => {
      const pause = createPauses();
      for (let index = 0; start + index * blockRows < end; index++) {
        const base = start + index * blockRows;
        const rows = Math.min(end - base, blockRows);
        const kept = blockFor(index, rows);
        if (kept.filled < rows) {
          kept.block.rows.set(read(base + kept.filled, base + rows), kept.filled * kernel.dimension);
          kept.filled = rows;
        }
        const scores = await kept.block.products(query);
        for (let i = 0; i < rows; i++) {
          // Conditions that no row meets are asked of every row.
          if (i % 256 === 0) await pause();
          if (scores[i] > best.bound && accept(base + i)) best.offer(scores[i], base + i);
        }
      }
    },
  };
}
