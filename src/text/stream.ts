import { InputError } from '../core/errors.js';
import { createUtf8Decoder } from './byte-level.js';
import type { Tokenizer } from './tokenizer.js';

export interface TextStreamOptions {
  /** Leave special tokens out. Default true. */
  readonly skipSpecialTokens?: boolean;
  /** Text ends before the first of these; none of it is ever returned. */
  readonly stop?: readonly string[];
}

/** Ids in, complete text out. */
export interface TextStream {
  /** The text that this id completes; '' while a character, or what may become a stop string, is unfinished. */
  push(id: number): string;
  /** The rest, with U+FFFD for a character that stayed unfinished. */
  end(): string;
  /** The stop string that was found, if any; from then on all text is ''. */
  stopped(): string | undefined;
}

/** Text in, the same text out up to a stop string. */
export interface StopFilter {
  /** The text that is certain now; what may become a stop string waits. */
  push(text: string): string;
  /** The rest. */
  end(): string;
  /** The stop string that was found, if any; from then on all text is ''. */
  stopped(): string | undefined;
}

/** Text before the first of `stop`: the one that ends first, the longest of those. Throws InputError for an empty one. */
export function createStopFilter(stop: readonly string[] = []): StopFilter {
  if (stop.includes('')) throw new InputError('stop: a stop string must not be empty');
  let held = '';
  let found: string | undefined;
  const release = (text: string, isLast: boolean): string => {
    if (found !== undefined) return '';
    held += text;
    const match = firstStop(held, stop);
    found = match?.stop;
    const length = match?.start ?? (isLast ? held.length : held.length - heldBack(held, stop));
    const released = held.slice(0, length);
    held = held.slice(length);
    return released;
  };
  return { push: (text) => release(text, false), end: () => release('', true), stopped: () => found };
}

/**
 * Decodes ids one by one. The pieces together are `tokenizer.decode` of all ids with the same `skipSpecialTokens`, up to the
 * first stop string, as `createStopFilter` finds it.
 */
export function createTextStream(
  tokenizer: Tokenizer,
  { skipSpecialTokens = true, stop }: TextStreamOptions = {},
): TextStream {
  const filter = createStopFilter(stop);
  const decoder = createUtf8Decoder();
  return {
    push: (id) => {
      if (skipSpecialTokens && tokenizer.isSpecial(id)) return '';
      return filter.push(decoder.decode(tokenizer.tokenBytes(id), { stream: true }));
    },
    end: () => filter.push(decoder.decode()) + filter.end(),
    stopped: filter.stopped,
  };
}

interface StopMatch {
  readonly stop: string;
  readonly start: number;
}

/** Which tokens the text came in must not matter, so the match that ends first wins, then the one that starts first. */
function firstStop(text: string, stops: readonly string[]): StopMatch | undefined {
  const end = ({ stop, start }: StopMatch) => start + stop.length;
  return stops
    .map((stop) => ({ stop, start: text.indexOf(stop) }))
    .filter(({ start }) => start >= 0)
    .sort((a, b) => end(a) - end(b) || a.start - b.start)[0];
}

/** Length of the longest end of `text` that begins a stop string. */
function heldBack(text: string, stops: readonly string[]): number {
  return Math.max(0, ...stops.map((stop) => overlap(text, stop)));
}

function overlap(text: string, stop: string): number {
  let length = Math.min(text.length, stop.length - 1);
  while (length > 0 && !text.endsWith(stop.slice(0, length))) length--;
  return length;
}
