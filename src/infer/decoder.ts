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
export function createSessionDecoder(
  session: Session,
  { width, maxPositions, withImages }: SessionDecoderOptions,
): CachedDecoder {
  const capacityFor = (length: number) => Math.min(maxPositions, Math.ceil((length + 1) / bucket) * bucket);
  const noFeatures: Tensor<'float32'> = { dtype: 'float32', shape: [0, width], data: new Float32Array(0) };

  const prefill = async (prompt: Prompt, state: CarriedTensors, signal?: AbortSignal): Promise<Float32Array> => {
    const { ids, images } = prompt;
    const feeds: Record<string, Tensor> = {
      inputIds: intRows([ids], 'prompt'),
      positions: intRows([ids.map((_, i) => positionRow(i))], 'positions'),
      lastIndex: int32s([1], [ids.length - 1]),
      totalLength: int32s([1], [ids.length]),
      outputRows: ints([1], [ids.length - 1]),
    };
    if (withImages) {
      feeds['features'] = images?.features ?? noFeatures;
      feeds['imageSource'] = intRows([images?.source ?? ids.map((_, i) => i)], 'image source');
    }
    const { logits } = await session.run(feeds, { state, ...(signal && { signal }) });
    return logits.data as Float32Array;
  };

  return {
    maxPositions,
    start: async (prompts, rows, signal) => {
      for (const { ids } of prompts) {
        if (ids.length === 0) throw new InputError('the prompt is empty');
        if (ids.length > maxPositions) {
          throw new InputError(`the prompt has ${ids.length} tokens, the model has ${maxPositions} positions`);
        }
      }
      const lengths = rows.map((row) => prompts[row].ids.length);
      let state = session.createState({ batch: rows.length, cache: capacityFor(Math.max(...lengths)) });
      try {
        const first = new Map<number, { readonly at: number; readonly logits: Float32Array }>();
        for (const [at, row] of rows.entries()) {
          if (first.has(row)) continue;
          const view = state.rows(at, 1);
          first.set(row, { at, logits: await prefill(prompts[row], view, signal) });
          view.dispose();
        }
        state.permuteRows(rows.map((row) => first.get(row)?.at ?? 0));
        return { batch: batchOf(), logits: rows.map((row) => first.get(row)?.logits ?? new Float32Array(0)) };
      } catch (error) {
        state.dispose();
        throw error;
      }

      function batchOf(): DecodingBatch {
        const everyRow = ints(
          [rows.length],
          rows.map((_, i) => i),
        );
        return {
          step: async (tokens, stepSignal) => {
            tokens.forEach((token, i) => {
              if (token !== null) lengths[i]++;
            });
            const longest = Math.max(...lengths);
            if (longest > maxPositions) throw new InputError(`the model has only ${maxPositions} positions`);
            const { cache } = state.extents;
            if (longest > cache) state = state.resize({ ...state.extents, cache: capacityFor(longest) });
            const column = (values: readonly number[]) => ints([rows.length, 1], values);
            const feeds: Record<string, Tensor> = {
              inputIds: column(tokens.map((token) => token ?? 0)),
              positions: column(lengths.map((length) => positionRow(length - 1))),
              lastIndex: int32s(
                [rows.length],
                lengths.map((length) => length - 1),
              ),
              totalLength: int32s([1], [longest]),
              outputRows: everyRow,
            };
            if (withImages) {
              feeds['features'] = noFeatures;
              feeds['imageSource'] = column(rows.map((_, i) => i));
            }
            const { logits } = await session.run(feeds, { state, ...(stepSignal && { signal: stepSignal }) });
            const vocabulary = logits.shape[1];
            const data = logits.data as Float32Array;
            return rows.map((_, i) => data.subarray(i * vocabulary, (i + 1) * vocabulary));
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
    },
  };
}
