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
  const finders = stop.map(createFinder);
  let held = '';
  let found: string | undefined;
  const release = (text: string, isLast: boolean): string => {
    if (found !== undefined) return '';
    const before = held.length;
    held += text;
    // Which tokens the text came in must not matter: the match that ends first wins, then the one that starts first.
    for (let end = before + 1; end <= held.length; end++) {
      const lengths = finders.map((take) => take(held[end - 1]));
      const longest = Math.max(0, ...lengths.filter((length, i) => length === stop[i].length));
      if (longest === 0) continue;
      found = held.slice(end - longest, end);
      return held.slice(0, end - longest);
    }
    const beginnings = isLast ? [] : finders.map((take) => take(''));
    const length = held.length - Math.max(0, ...beginnings);
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

/**
 * Takes a text character by character, and says how long a beginning of `stop` it now ends in (Knuth, Morris and Pratt 1977): in
 * time by the length of the text, whatever both are. The empty text changes nothing.
 */
function createFinder(stop: string): (char: string) => number {
  /** For every beginning of `stop`, the length of the longest shorter one that it ends in. */
  const shorter = [0, 0];
  const extend = (length: number, char: string): number => {
    let kept = length;
    while (kept > 0 && stop[kept] !== char) kept = shorter[kept];
    return stop[kept] === char ? kept + 1 : 0;
  };
  for (let end = 1; end < stop.length; end++) shorter.push(extend(shorter[end], stop[end]));
  let length = 0;
  return (char) => {
    if (char !== '') length = extend(length, char);
    return length;
  };
}
