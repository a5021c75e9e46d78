/** Glyphs from outside the alphabet, which a reader is to mark: U+FFFD, one for each. */
import type { Rng } from '../../core/rng.js';
import { alphabet } from './alphabet.js';
import { chance, pick, pickWeighted } from './text.js';
import type { UnknownKind } from './unknown-glyphs.js';

/** What a reader writes for a glyph outside its alphabet. */
export const unknownMark = '\ufffd';

const weights: Readonly<Record<UnknownKind, number>> = {
  latin: 0.25,
  greek: 0.15,
  cyrillic: 0.2,
  script: 0.15,
  sign: 0.1,
  commonSign: 0.15,
};

function alter(rng: Rng, word: string, glyphs: readonly string[], isSign: boolean): string {
  const manner = rng.next();
  if (isSign) {
    if (manner < 0.4) return pick(rng, glyphs);
    return manner < 0.7 ? pick(rng, glyphs) + word : word + pick(rng, glyphs);
  }
  // A whole word of another script, or a letter of it among ours.
  if (manner < 0.4) return Array.from({ length: Math.min(word.length, 8) }, () => pick(rng, glyphs)).join('');
  const at = rng.integer(0, word.length);
  return word.slice(0, at) + pick(rng, glyphs) + word.slice(at + 1);
}

/** `text` with unknown glyphs in about a `share` of its words; no longer than `maxChars` where it was not. */
export function withUnknownGlyphs(
  rng: Rng,
  text: string,
  {
    share,
    glyphs,
    maxChars,
  }: {
    readonly share: number;
    readonly glyphs: ReadonlyMap<UnknownKind, readonly string[]>;
    readonly maxChars: number;
  },
): string {
  if (glyphs.size === 0) return text;
  const offered = Object.fromEntries([...glyphs.keys()].map((kind) => [kind, weights[kind]])) as typeof weights;
  const words = text.split(' ').map((word) => {
    if (!chance(rng, share)) return word;
    const kind = pickWeighted(rng, offered);
    return alter(rng, word, glyphs.get(kind) ?? [], kind === 'sign' || kind === 'commonSign');
  });
  return words.join(' ').slice(0, Math.max(text.length, maxChars)).trimEnd();
}

const known = new Set(alphabet);

/** What a reader is to write for a drawn text: each character outside the alphabet is U+FFFD. */
export function markUnknown(text: string): string {
  return Array.from(text, (character) => (known.has(character) ? character : unknownMark)).join('');
}
