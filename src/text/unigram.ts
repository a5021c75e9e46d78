import { utf8Bytes } from './byte-level.js';
import { fileError } from './json.js';

/** A piece of a SentencePiece vocabulary: its text, and the logarithm of its probability. The id is its place. */
export type Piece = readonly [text: string, score: number];

export interface UnigramModel {
  readonly pieces: readonly Piece[];
  readonly unknownId: number;
  /** Pieces that text may become. */
  readonly usable: ReadonlyMap<string, number>;
  /** The ids of all bytes, where characters that no piece has are written so. */
  readonly bytes: readonly number[] | undefined;
}

/** How a byte is written as a piece. */
export const bytePiece = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/** What an unknown character costs beside the least likely piece (SentencePiece's kUnkPenalty). */
const unknownPenalty = 10;

export interface Vocabulary {
  readonly pieces: readonly Piece[];
  readonly unknownId: number;
  /** Ids of pieces that no text becomes. */
  readonly control: ReadonlySet<unknown>;
  /** There is a piece for each byte. */
  readonly byteFallback: boolean;
}

/** Checks a vocabulary. Throws InputError. */
export function createUnigram({ pieces, unknownId, control, byteFallback }: Vocabulary, file: string): UnigramModel {
  if (!(Number.isInteger(unknownId) && unknownId >= 0 && unknownId < pieces.length)) {
    throw fileError(file, `the unknown piece is ${String(unknownId)}, of ${pieces.length} pieces`);
  }
  const wrong = pieces.find(([text, score]) => typeof text !== 'string' || !Number.isFinite(score));
  if (wrong) throw fileError(file, `a piece is ${JSON.stringify(wrong)}, expected a text and its score`);
  const bytes = byteFallback ? bytesOf(pieces, file) : undefined;
  const reserved = new Set(bytes);
  const usable = new Map<string, number>();
  pieces.forEach(([text], id) => {
    if (id === unknownId || control.has(id) || reserved.has(id) || text === '' || usable.has(text)) return;
    usable.set(text, id);
  });
  return { pieces, unknownId, usable, bytes };
}

function bytesOf(pieces: readonly Piece[], file: string): number[] {
  const ids = new Map(pieces.map(([text], id) => [text, id]));
  return Array.from({ length: 256 }, (_, byte) => {
    const id = ids.get(bytePiece(byte));
    if (id === undefined) throw fileError(file, `has byte_fallback and no piece ${bytePiece(byte)}`);
    return id;
  });
}

/**
 * The most likely way to write a text in pieces (Viterbi; Kudo 2018, arXiv 1804.10959). Unknown characters become their bytes where these
 * have ids, else neighbouring ones become one unknown id.
 */
export function createUnigramEncoder({ pieces, unknownId, usable, bytes }: UnigramModel): (text: string) => number[] {
  const scores = pieces.map(([, score]) => score);
  const unknownScore = scores.reduce((least, score) => Math.min(least, score), 0) - unknownPenalty;
  const longest = [...usable.keys()].reduce((most, text) => Math.max(most, Array.from(text).length), 1);
  return (text) => {
    const chars = Array.from(text);
    const best = new Float64Array(chars.length + 1).fill(Number.NEGATIVE_INFINITY);
    const from = new Int32Array(chars.length + 1);
    const ids = new Int32Array(chars.length + 1);
    best[0] = 0;
    const offer = (start: number, end: number, id: number, score: number) => {
      if (best[start] + score <= best[end]) return;
      best[end] = best[start] + score;
      from[end] = start;
      ids[end] = id;
    };
    for (let start = 0; start < chars.length; start++) {
      let piece = '';
      for (let end = start + 1; end <= Math.min(start + longest, chars.length); end++) {
        piece += chars[end - 1];
        const id = usable.get(piece);
        if (id !== undefined) offer(start, end, id, scores[id]);
      }
      if (!usable.has(chars[start])) offer(start, start + 1, unknownId, unknownScore);
    }
    const path: number[] = [];
    for (let at = chars.length; at > 0; at = from[at]) {
      if (ids[at] === unknownId && bytes)
        path.push(...Array.from(utf8Bytes(chars[at - 1]), (byte) => bytes[byte]).reverse());
      else if (ids[at] !== unknownId || path.at(-1) !== unknownId) path.push(ids[at]);
    }
    return path.reverse();
  };
}
