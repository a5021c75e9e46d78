import { ignoreIndex } from '../../core/labels.js';
import type { TrainingBatch } from '../../data/batches.js';
import { fillerId, type OptConfig } from '../../models/opt.js';
import { padRows } from '../../text/collate.js';
import type { ReadingBatch } from '../../train/tasks.js';

/** Rows are padded to a multiple of this, so that few shapes occur: each is a graph of its own. */
const lengthStep = 16;

/** A batch of conversations as training takes it. */
export function readingBatchOf(
  { inputIds, attentionMask, labels, pixelValues }: TrainingBatch,
  config: Pick<OptConfig, 'padId' | 'eosIds' | 'maxPositions'>,
): ReadingBatch {
  const { maxPositions } = config;
  const longest = inputIds[0].length;
  const length = Math.max(longest, Math.min(Math.ceil(longest / lengthStep) * lengthStep, maxPositions));
  const padded = (rows: readonly (readonly number[])[], filler: number) =>
    padRows(rows, { padId: filler, length }).inputIds;
  return {
    inputIds: padded(inputIds, fillerId(config)),
    attentionMask: padded(attentionMask, 0),
    labels: padded(labels, ignoreIndex),
    ...(pixelValues && { pixelValues }),
  };
}
