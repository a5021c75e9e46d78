import { InputError } from '../core/errors.js';
import { ignoreIndex } from '../core/labels.js';
import { utf8Bytes } from './byte-level.js';
import type { Tokenizer } from './tokenizer.js';

/** Who wrote a stretch: a human (never learned), gpt (learned), or neither (a signal; not learned by itself). */
export type Part = 'human' | 'answer' | 'signal';

interface TextPiece {
  readonly text: string;
  readonly part: Part;
}

/** Ids that stand for themselves, and cut the text. */
interface IdPiece {
  readonly ids: readonly number[];
  readonly part: Part;
  readonly isImage?: boolean;
}

export type Piece = TextPiece | IdPiece;

export interface Assembled {
  readonly inputIds: number[];
  readonly labels: number[];
  /** [start, end) of every image block in `inputIds`. */
  readonly blocks: (readonly [number, number])[];
}

/**
 * Ids and labels of pieces in order. Neighbouring texts are tokenised as one, so a token may lie across two pieces: it is
 * learned if it has a part of an answer and no part of a human turn.
 */
export function assemble(pieces: readonly Piece[], tokenizer: Tokenizer, where: string): Assembled {
  const result: Assembled = { inputIds: [], labels: [], blocks: [] };
  const append = (id: number, isLearned: boolean) => {
    result.inputIds.push(id);
    result.labels.push(isLearned ? id : ignoreIndex);
  };
  let run: TextPiece[] = [];
  const appendRun = () => {
    const { ids, learned } = encodeRun(run, tokenizer, where);
    for (const [i, id] of ids.entries()) append(id, learned[i]);
    run = [];
  };
  for (const piece of pieces) {
    if ('text' in piece) {
      run.push(piece);
      continue;
    }
    appendRun();
    const start = result.inputIds.length;
    for (const id of piece.ids) append(id, piece.part === 'answer');
    if (piece.isImage) result.blocks.push([start, start + piece.ids.length]);
  }
  appendRun();
  return result;
}

interface EncodedRun {
  readonly ids: readonly number[];
  readonly learned: readonly boolean[];
}

/** Tokenises texts as one and finds by byte offsets whose text each token has. */
function encodeRun(run: readonly TextPiece[], tokenizer: Tokenizer, where: string): EncodedRun {
  const ids = tokenizer.encode(run.map(({ text }) => text).join(''), { addSpecialTokens: false, literal: true });
  const pieceEnds = runningSums(run.map(({ text }) => utf8Bytes(text).length));
  const tokenEnds = runningSums(ids.map((id) => tokenizer.tokenBytes(id).length));
  if ((tokenEnds.at(-1) ?? 0) !== (pieceEnds.at(-1) ?? 0)) {
    throw new InputError(
      `${where}: the tokenizer changes the text (a normalizer, or bytes it has no token for), so its turns cannot be found; use one that keeps it`,
    );
  }
  let first = 0;
  const learned = tokenEnds.map((end, i) => {
    const start = i === 0 ? 0 : tokenEnds[i - 1];
    while (pieceEnds[first] <= start) first++;
    return isLearned(partsFrom(run, pieceEnds, first, end));
  });
  return { ids, learned };
}

function runningSums(values: readonly number[]): number[] {
  let sum = 0;
  return values.map((value) => {
    sum += value;
    return sum;
  });
}

/** Parts of the non-empty pieces from `first` on that begin before byte `end`. */
function partsFrom(run: readonly TextPiece[], pieceEnds: readonly number[], first: number, end: number): Part[] {
  const parts: Part[] = [];
  for (let i = first; i < run.length && (i === first || pieceEnds[i - 1] < end); i++) {
    if (run[i].text !== '') parts.push(run[i].part);
  }
  return parts;
}

function isLearned(parts: readonly Part[]): boolean {
  return parts.includes('answer') && !parts.includes('human');
}
