import { InputError } from '../core/errors.js';
import { int32s, intRows, ints, type Tensor } from '../core/tensor.js';
import { positionRow } from '../models/opt.js';
import type { CarriedTensors, Session } from '../runtime/runtime.js';

/** One row to continue: token ids, and for a prompt with images where its positions come from. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly images?: { readonly features: Tensor<'float32'>; readonly source: readonly number[] };
}

/** Rows that are decoded together. */
export interface DecodingBatch {
  /** Appends one token to every row and returns the logits [V] after it, per row. A null row is finished and stands still. */
  step(tokens: readonly (number | null)[], signal?: AbortSignal): Promise<Float32Array[]>;
  /** Row i becomes what row `from[i]` was. */
  reorder(from: readonly number[]): void;
  dispose(): void;
}

/** What generation needs of a model; tests script it. */
export interface CachedDecoder {
  readonly maxPositions: number;
  /** Starts a batch: row i begins with prompt `rows[i]`. Returns the logits after each row's prompt. */
  start(
    prompts: readonly Prompt[],
    rows: readonly number[],
    signal?: AbortSignal,
  ): Promise<{ readonly batch: DecodingBatch; readonly logits: Float32Array[] }>;
}

export interface SessionDecoderOptions {
  readonly width: number;
  readonly maxPositions: number;
  readonly withImages: boolean;
}

/** The cache grows by this many positions at a time. */
const bucket = 256;

/** A decoder over a session of `cachedDecoderGraph`. */
export function createSessionDecoder(session: Session, options: SessionDecoderOptions): CachedDecoder {
  const { maxPositions } = options;
  return {
    maxPositions,
    start: async (prompts, rows, signal) => {
      for (const { ids } of prompts) checkLength(ids.length, maxPositions);
      const lengths = rows.map((row) => prompts[row].ids.length);
      const cache = capacityFor(Math.max(...lengths), maxPositions);
      const state = session.createState({ batch: rows.length, cache });
      try {
        const first = new Map<number, { readonly at: number; readonly logits: Float32Array }>();
        for (const [at, row] of rows.entries()) {
          if (first.has(row)) continue;
          const view = state.rows(at, 1);
          first.set(row, { at, logits: await prefill(session, prompts[row], view, options, signal) });
          view.dispose();
        }
        state.permuteRows(rows.map((row) => first.get(row)?.at ?? 0));
        const logits = rows.map((row) => first.get(row)?.logits ?? new Float32Array(0));
        return { batch: createBatch(session, state, lengths, options), logits: logits.map((row) => row.slice()) };
      } catch (error) {
        state.dispose();
        throw error;
      }
    },
  };
}

function checkLength(length: number, maxPositions: number): void {
  if (length === 0) throw new InputError('the prompt is empty');
  if (length > maxPositions) {
    throw new InputError(`the prompt has ${length} tokens, the model has ${maxPositions} positions`);
  }
}

const capacityFor = (length: number, maxPositions: number) =>
  Math.min(maxPositions, Math.ceil((length + 1) / bucket) * bucket);

const noFeatures = (width: number): Tensor => ({ dtype: 'float32', shape: [0, width], data: new Float32Array(0) });

/** Fills one row of a cache with a prompt; the logits after it. */
async function prefill(
  session: Session,
  { ids, images }: Prompt,
  state: CarriedTensors,
  { width, withImages }: SessionDecoderOptions,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const places = ids.map((_, i) => i);
  const feeds: Record<string, Tensor> = {
    inputIds: intRows([ids], 'prompt'),
    positions: intRows([places.map(positionRow)], 'positions'),
    lastIndex: int32s([1], [ids.length - 1]),
    totalLength: int32s([1], [ids.length]),
    outputRows: ints([1], [ids.length - 1]),
  };
  if (withImages) {
    feeds['features'] = images?.features ?? noFeatures(width);
    feeds['imageSource'] = intRows([images?.source ?? places], 'image source');
  }
  const { logits } = await session.run(feeds, { state, ...(signal && { signal }) });
  return logits.data as Float32Array;
}

/** Rows that stand at `lengths` in a state, which the batch owns from here on. */
function createBatch(
  session: Session,
  initial: CarriedTensors,
  lengths: number[],
  { width, maxPositions, withImages }: SessionDecoderOptions,
): DecodingBatch {
  let state = initial;
  const count = lengths.length;
  const rows = lengths.map((_, i) => i);
  const column = (values: readonly number[]) => ints([count, 1], values);
  return {
    step: async (tokens, signal) => {
      tokens.forEach((token, i) => {
        if (token !== null) lengths[i]++;
      });
      const longest = Math.max(...lengths);
      if (longest > maxPositions) throw new InputError(`the model has only ${maxPositions} positions`);
      if (longest > state.extents['cache']) {
        state = state.resize({ ...state.extents, cache: capacityFor(longest, maxPositions) });
      }
      const feeds: Record<string, Tensor> = {
        inputIds: column(tokens.map((token) => token ?? 0)),
        positions: column(lengths.map((length) => positionRow(length - 1))),
        lastIndex: int32s(
          [count],
          lengths.map((length) => length - 1),
        ),
        totalLength: int32s([1], [longest]),
        outputRows: ints([count], rows),
      };
      if (withImages) {
        feeds['features'] = noFeatures(width);
        feeds['imageSource'] = column(rows);
      }
      const { logits } = await session.run(feeds, { state, ...(signal && { signal }) });
      const vocabulary = logits.shape[1];
      const data = logits.data as Float32Array;
      return rows.map((i) => data.subarray(i * vocabulary, (i + 1) * vocabulary));
    },
    reorder: (from) => {
      state.permuteRows(from);
      const before = [...lengths];
      from.forEach((row, i) => {
        lengths[i] = before[row];
      });
    },
    dispose: () => state.dispose(),
  };
}
