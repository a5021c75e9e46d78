import { InputError } from '../core/errors.js';
import { ignoreIndex } from '../core/labels.js';

/** One training sample as ids; `labels` has the same length. */
export interface LabelledIds {
  readonly inputIds: readonly number[];
  readonly labels: readonly number[];
}

/** Rows of equal length [B, T]. */
export interface PaddedIds {
  readonly inputIds: number[][];
  readonly attentionMask: number[][];
}

export interface Batch extends PaddedIds {
  readonly labels: number[][];
}

export interface PadOptions {
  readonly padId: number;
  /** Default 'right'. */
  readonly side?: 'left' | 'right';
  /** Rows become at least so long. */
  readonly length?: number;
}

/** Pads rows of ids to the longest, or to `length`; the mask is 1 for every id that was given, a pad id among them included. */
export function padRows(
  rows: readonly (readonly number[])[],
  { padId, side = 'right', length = 0 }: PadOptions,
): PaddedIds {
  const width = rows.reduce((longest, row) => Math.max(longest, row.length), length);
  const pad = (row: readonly number[], filler: number) => {
    const fill = new Array<number>(width - row.length).fill(filler);
    return side === 'right' ? [...row, ...fill] : [...fill, ...row];
  };
  const ones = (row: readonly number[]) => new Array<number>(row.length).fill(1);
  return { inputIds: rows.map((row) => pad(row, padId)), attentionMask: rows.map((row) => pad(ones(row), 0)) };
}

export interface CollateOptions {
  readonly padId: number;
  /** 'real': 1 for every id of a sample. 'reference': 1 where the id is not `padId` (Vary data/__init__.py). Default 'real'. */
  readonly mask?: 'real' | 'reference';
  /** Rows become at least so long. */
  readonly length?: number;
}

/** A batch [B, T], padded on the right; padded labels are -100. Throws InputError where ids and labels differ in length. */
export function collate(samples: readonly LabelledIds[], { padId, mask = 'real', length = 0 }: CollateOptions): Batch {
  samples.forEach(({ inputIds, labels }, i) => {
    if (inputIds.length === labels.length) return;
    throw new InputError(
      `collate: sample ${i} has ${inputIds.length} ids and ${labels.length} labels, expected as many`,
    );
  });
  const rows = samples.map(({ inputIds }) => inputIds);
  const { inputIds, attentionMask } = padRows(rows, { padId, length });
  const labelRows = samples.map(({ labels }) => labels);
  return {
    inputIds,
    labels: padRows(labelRows, { padId: ignoreIndex, length }).inputIds,
    attentionMask: mask === 'real' ? attentionMask : inputIds.map((row) => row.map((id) => (id === padId ? 0 : 1))),
  };
}
