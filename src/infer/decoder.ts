import { InputError } from '../core/errors.js';
import { floatView, int32s, intRows, ints, type Tensor } from '../core/tensor.js';
import { positionRow } from '../models/opt.js';
import type { CarriedTensors, Session } from '../runtime/runtime.js';

/** One row to continue: token ids, and for a prompt with images where its positions come from. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly images?: { readonly features: Tensor<'float32'>; readonly source: readonly number[] };
  /** Ids that may come next: `fill` of a slot batch gives the logits after each of them too. */
  readonly draft?: readonly number[];
}

/** Rows that are decoded together. */
export interface DecodingBatch {
  /**
   * Appends one token to every row and returns the logits [V] after it, per row, to be looked at before the next step. A null row is
   * finished, or was never filled, and stands still. Rows after the last one named stand still too.
   */
  step(tokens: readonly (number | null)[], signal?: AbortSignal): Promise<Float32Array[]>;
  /** Row i becomes what row `from[i]` was. */
  reorder(from: readonly number[]): void;
  dispose(): void;
}

/** Rows that come and go while others are decoded. */
export interface SlotBatch extends DecodingBatch {
  /**
   * Rows [first, first + prompts) begin anew, each with a prompt; all prompts have one length. `room` is how many positions a row
   * will need in the end: the cache is made so long. Returns the logits after each prompt, and after each id of its draft, which does
   * not belong to the row yet, to be looked at before the next `fill`. Other rows are as they were.
   */
  fill(first: number, prompts: readonly Prompt[], room: number, signal?: AbortSignal): Promise<Float32Array[][]>;
  /** So many ids of the draft that a row was filled with are its own, before its next step. */
  accept(row: number, count: number): void;
  /** The row is empty from now on. */
  clear(row: number): void;
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

/** What the engine needs of a model. */
export interface SlotDecoder {
  readonly maxPositions: number;
  /** A batch of so many empty rows. */
  openSlots(count: number): SlotBatch;
}

export interface SessionDecoderOptions {
  readonly width: number;
  readonly maxPositions: number;
  readonly withImages: boolean;
}

/** The cache grows by this many positions at a time. */
const bucket = 256;

/** A decoder over a session of `cachedDecoderGraph`. */
export function createSessionDecoder(session: Session, options: SessionDecoderOptions): CachedDecoder & SlotDecoder {
  const { maxPositions } = options;
  return {
    maxPositions,
    openSlots: (count) => createSlots(session, count, options),
    start: async (prompts, rows, signal) => {
      for (const { ids } of prompts) checkLength(ids.length, maxPositions);
      const lengths = rows.map((row) => prompts[row].ids.length);
      const longest = Math.max(...lengths);
      const batch = createSlots(session, rows.length, options);
      try {
        const fresh = rows.flatMap((row, at) => (rows.indexOf(row) === at ? [at] : []));
        const logits: Float32Array[] = [];
        for (const group of prefillGroups(fresh, lengths)) {
          const some = group.map((at) => prompts[rows[at]]);
          const own = await batch.fill(group[0], some, longest + 1, signal);
          for (const [i, at] of group.entries()) logits[at] = own[i][0].slice();
        }
        const source = rows.map((row) => rows.indexOf(row));
        batch.reorder(source);
        return { batch, logits: source.map((at) => logits[at].slice()) };
      } catch (error) {
        batch.dispose();
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

/** How many tokens can follow a prompt of so many: the last one needs no position. */
export const roomAfter = (length: number, maxPositions: number): number => maxPositions - length + 1;

const capacityFor = (length: number, maxPositions: number) =>
  Math.min(maxPositions, Math.ceil(length / bucket) * bucket);

const column = (values: readonly number[]): Tensor => ints([values.length, 1], values);

/** What a step of rows without images has in their place. */
const noImages = (rows: number, width: number): Record<string, Tensor> => ({
  features: floatView([0, width], new Float32Array(0)),
  imageSource: column(Array.from({ length: rows }, (_, i) => i)),
});

/** One token more of every row, `lengths` with it, in a cache of which `longest` positions are used. */
function stepFeeds(
  tokens: readonly (number | null)[],
  lengths: readonly number[],
  longest: number,
): Record<string, Tensor> {
  // A row that stands still writes its last position again, or the first where it is empty: nobody reads either.
  const lasts = lengths.map((length) => Math.max(0, length - 1));
  return {
    inputIds: column(tokens.map((token) => token ?? 0)),
    positions: column(lasts.map(positionRow)),
    lastIndex: int32s([lasts.length], lasts),
    totalLength: int32s([1], [longest]),
    outputRows: ints(
      [lasts.length],
      lasts.map((_, i) => i),
    ),
  };
}

/**
 * Tokens of prompts that are prefilled in one run, at most, unless one prompt alone is longer: eight pages of 256 image tokens, each with
 * some words, so that as many as decode together begin together.
 */
export const prefillTokens: number = 8 * 320;

/** Neighbouring rows of equal length, so many as one run takes: without padding, each row's result is its own. */
function prefillGroups(rows: readonly number[], lengths: readonly number[]): number[][] {
  const groups: number[][] = [];
  for (const row of rows) {
    const group = groups.at(-1);
    const fits = group && group[group.length - 1] === row - 1 && lengths[group[0]] === lengths[row];
    if (fits && (group.length + 1) * lengths[row] <= prefillTokens) group.push(row);
    else groups.push([row]);
  }
  return groups;
}

/** So many values, valid until it is asked again: memory of its own for each run would be a megabyte for the collector. */
type Room = (length: number) => Float32Array;

function createRoom(): Room {
  let data = new Float32Array(0);
  return (length) => {
    if (data.length < length) data = new Float32Array(length);
    return data.subarray(0, length);
  };
}

/** Fills rows of a cache with prompts of one length and their drafts; the logits after each prompt and each id of its draft. */
async function prefill(
  session: Session,
  prompts: readonly Prompt[],
  state: CarriedTensors,
  { width, withImages, roomFor }: SessionDecoderOptions & { readonly roomFor: Room },
  signal?: AbortSignal,
): Promise<Float32Array[][]> {
  const { length } = prompts[0].ids;
  const drafts = prompts.map(({ draft = [] }) => draft);
  const total = length + Math.max(...drafts.map((draft) => draft.length));
  // What fills up shorter drafts comes after them: they do not look at it, and the row's next tokens take its place.
  const rows = prompts.map(({ ids }, r) => padded([...ids, ...drafts[r]], total));
  const places = rows[0].map((_, i) => positionRow(i));
  const outputs = drafts.flatMap((draft, r) =>
    Array.from({ length: draft.length + 1 }, (_, i) => r * total + length - 1 + i),
  );
  const feeds: Record<string, Tensor> = {
    inputIds: intRows(rows, 'prompt'),
    positions: intRows(
      rows.map(() => places),
      'positions',
    ),
    lastIndex: int32s(
      [rows.length],
      rows.map(() => total - 1),
    ),
    totalLength: int32s([1], [total]),
    outputRows: ints([outputs.length], outputs),
  };
  if (withImages) Object.assign(feeds, imageFeeds(prompts, total, width, roomFor));
  const { logits } = await session.run(feeds, { state, lend: true, ...(signal && { signal }) });
  const [, vocabulary] = logits.shape;
  const data = logits.data as Float32Array;
  let at = 0;
  return drafts.map((draft) =>
    Array.from({ length: draft.length + 1 }, () => data.subarray(at++ * vocabulary, at * vocabulary)),
  );
}

const padded = (ids: readonly number[], length: number): number[] => [
  ...ids,
  ...Array<number>(length - ids.length).fill(0),
];

/**
 * The features of several prompts one after another, and each row's places among all embeddings and features; rows are filled up to
 * `total` with their own embeddings.
 */
function imageFeeds(prompts: readonly Prompt[], total: number, width: number, roomFor: Room): Record<string, Tensor> {
  let used = 0;
  const source = prompts.map(({ ids, images }, r) => {
    const features = prompts.length * total + used - ids.length;
    used += images?.features.shape[0] ?? 0;
    return Array.from({ length: total }, (_, t) => {
      const from = images?.source[t] ?? t;
      return t < ids.length && from >= ids.length ? features + from : r * total + from;
    });
  });
  const data = roomFor(used * width);
  let at = 0;
  for (const { images } of prompts) {
    if (!images) continue;
    data.set(images.features.data, at);
    at += images.features.data.length;
  }
  return { features: floatView([used, width], data), imageSource: intRows(source, 'image source') };
}

/** Rows of a cache that is made when the first of them is filled. */
function createSlots(session: Session, count: number, options: SessionDecoderOptions): SlotBatch {
  const { width, maxPositions, withImages } = options;
  const roomFor = createRoom();
  const lengths = Array<number>(count).fill(0);
  let state: CarriedTensors | undefined;
  /** The rows that were filled last: their memory has the logits that the caller looks at. */
  let filled: CarriedTensors | undefined;
  /** The first rows of the state, by their number: the plans of their runs are kept with them. */
  const views = new Map<number, CarriedTensors>();
  const reserve = async (positions: number): Promise<CarriedTensors> => {
    const cache = capacityFor(positions, maxPositions);
    if (!state) state = session.createState({ batch: count, cache });
    else if (cache > state.extents['cache']) {
      views.clear();
      state = await state.resize({ ...state.extents, cache });
    }
    return state;
  };
  const firstRows = (whole: CarriedTensors, rows: number): CarriedTensors => {
    if (rows === count) return whole;
    const view = views.get(rows) ?? whole.rows(0, rows);
    views.set(rows, view);
    return view;
  };
  return {
    fill: async (first, prompts, room, signal) => {
      const length = prompts[0].ids.length;
      const longest = length + Math.max(...prompts.map(({ draft = [] }) => draft.length));
      checkLength(longest, maxPositions);
      filled?.dispose();
      filled = (await reserve(Math.max(longest, room))).rows(first, prompts.length);
      const logits = await prefill(session, prompts, filled, { ...options, roomFor }, signal);
      lengths.fill(length, first, first + prompts.length);
      return logits;
    },
    accept: (row, count) => {
      lengths[row] += count;
    },
    clear: (row) => {
      lengths[row] = 0;
    },
    step: async (tokens, signal) => {
      const standing = lengths.slice(0, tokens.length);
      const next = standing.map((length, i) => (tokens[i] === null ? length : length + 1));
      const longest = Math.max(1, ...next);
      if (longest > maxPositions) throw new InputError(`the model has only ${maxPositions} positions`);
      const view = firstRows(await reserve(longest), next.length);
      const feeds = stepFeeds(tokens, next, longest);
      if (withImages) Object.assign(feeds, noImages(next.length, width));
      const { logits } = await session.run(feeds, { state: view, lend: true, ...(signal && { signal }) });
      next.forEach((length, i) => {
        lengths[i] = length;
      });
      const vocabulary = logits.shape[1];
      const data = logits.data as Float32Array;
      return next.map((_, i) => data.subarray(i * vocabulary, (i + 1) * vocabulary));
    },
    reorder: (from) => {
      state?.permuteRows(from);
      const before = [...lengths];
      from.forEach((row, i) => {
        lengths[i] = before[row];
      });
    },
    dispose: () => {
      views.clear();
      filled = undefined;
      state?.dispose();
      state = undefined;
    },
  };
}
