import { alphabet } from './alphabet.js';

/** Which samples: those to learn from, or those whose words and fonts are never learned from. */
export type Split = 'train' | 'heldOut';

/** Words to write, most frequent first where a list has an order. */
export interface Lexicon {
  /** Frequent English words. */
  readonly common: readonly string[];
  /** Any English words, of a large dictionary. */
  readonly rare: readonly string[];
  /** Frequent words of other languages in Latin letters. */
  readonly foreign: readonly string[];
  /** Those of `foreign` with letters outside ASCII. */
  readonly accented: readonly string[];
}

/** One word in this many is held out. */
const heldOutShare = 25;

/** FNV-1a over UTF-16 units. */
function hashOf(word: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Whether a word is kept from training: a function of its letters, so of every list that has it. */
export function isHeldOut(word: string): boolean {
  return word.length > 3 && hashOf(word.toLowerCase()) % heldOutShare === 0;
}

const letters = new Set(alphabet);
const isWritable = (word: string) =>
  /^[\p{L}][\p{L}'-]*$/u.test(word) && [...word].every((letter) => letters.has(letter));

/** The words of one split, each list in its order. Words of up to three letters are in both: there are too few of them to hold out. */
export function createLexicon(
  lists: {
    common: readonly string[];
    rare: readonly string[];
    foreign: readonly (readonly string[])[];
    /** Words that are not written, nor any that begin with one of them. */
    unwanted: readonly string[];
  },
  split: Split,
): Lexicon {
  const unwanted = new Set(lists.unwanted);
  const isWanted = (word: string) => {
    for (let end = 4; end <= word.length; end++) if (unwanted.has(word.slice(0, end).toLowerCase())) return false;
    return true;
  };
  const inSplit = (word: string) =>
    isWritable(word) && isWanted(word) && (split === 'train' ? !isHeldOut(word) : isHeldOut(word) || word.length <= 3);
  // Languages take turns, so that the order stays by frequency.
  const longest = Math.max(0, ...lists.foreign.map((list) => list.length));
  const foreign: string[] = [];
  for (let rank = 0; rank < longest; rank++) {
    for (const list of lists.foreign) if (rank < list.length && inSplit(list[rank])) foreign.push(list[rank]);
  }
  return {
    common: lists.common.filter(inSplit),
    rare: lists.rare.filter(inSplit),
    foreign,
    accented: foreign.filter((word) => /[^\0-~]/.test(word)),
  };
}
