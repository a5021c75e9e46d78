import { permutation } from '../../data/order.js';
import type { LineOptions, RenderedLine } from '../../data/rendered/line.js';
import type { TextRenderer } from './renderer.js';

/** From batch `fromBatch` on, lines are of these options. */
export interface LineStage extends LineOptions {
  readonly fromBatch: number;
}

/** A group of batches, rendered together so that each can hold lines of like width. */
export interface LineBatchPlan {
  readonly seed: number;
  readonly group: number;
  readonly batchSize: number;
  /** Batches in a group; 1 leaves lines in order of their index. */
  readonly bucket: number;
  readonly stages: readonly LineStage[];
}

/** Lines of batch `index`, which is a function of (seed, index) and the source's options alone. */
export interface LineBatch {
  readonly index: number;
  readonly lines: readonly RenderedLine[];
}

function stageOf(stages: readonly LineStage[], batch: number): LineStage {
  return stages.findLast(({ fromBatch }) => fromBatch <= batch) ?? stages[0];
}

/**
 * The lines of a group, batch by batch: line i of the run is line i of the renderer, then sorted by width within the group, and
 * the batches are put in a random order.
 */
export function renderGroup(renderer: TextRenderer, plan: LineBatchPlan): RenderedLine[] {
  const { seed, group, batchSize, bucket, stages } = plan;
  const { fromBatch: _, ...options } = stageOf(stages, group * bucket);
  const first = group * bucket * batchSize;
  const lines = Array.from({ length: bucket * batchSize }, (_, i) =>
    renderer.renderLine({ ...options, seed, index: first + i }),
  );
  if (bucket === 1) return lines;
  const sorted = lines.toSorted((a, b) => a.width / a.height - b.width / b.height || a.index - b.index);
  const batches = Array.from({ length: bucket }, (_, i) => sorted.slice(i * batchSize, (i + 1) * batchSize));
  return [...permutation(bucket, seed, group, 0xb0c7)].flatMap((batch) => batches[batch]);
}
