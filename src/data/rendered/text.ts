import type { Rng } from '../../core/rng.js';
import type { Lexicon } from './lexicon.js';

/** What a text may hold, and how much of it. */
export interface TextOptions {
  readonly lexicon: Lexicon;
  /** Characters that can be drawn. */
  readonly charset: ReadonlySet<string>;
  readonly minWords: number;
  readonly maxWords: number;
  readonly maxChars: number;
}

/** How a whole line is written. */
type Manner = 'prose' | 'upper' | 'title' | 'figures' | 'code' | 'signs';

/** Picks one of `items`. */
export function pick<T>(rng: Rng, items: ArrayLike<T>): T {
  return items[rng.integer(0, items.length)];
}

/** Picks a name with a chance in proportion to its weight. */
export function pickWeighted<T extends string>(rng: Rng, weights: Readonly<Record<T, number>>): T {
  const names = Object.keys(weights) as T[];
  let rest = rng.next() * names.reduce((sum, name) => sum + weights[name], 0);
  for (const name of names) {
    rest -= weights[name];
    if (rest < 0) return name;
  }
  return names[names.length - 1];
}

export const chance = (rng: Rng, probability: number): boolean => rng.next() < probability;

const digits = (rng: Rng, count: number) => Array.from({ length: count }, () => rng.integer(0, 10)).join('');
const two = (value: number) => String(value).padStart(2, '0');
const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
const upper = (word: string) => (word.includes('ß') ? word : word.toUpperCase());
const months = 'January February March April May June July August September October November December'.split(' ');

function rawWord(rng: Rng, lexicon: Lexicon): string {
  const from = pickWeighted(rng, { common: 0.5, rare: 0.22, foreign: 0.16, accented: 0.12 });
  const words = lexicon[from];
  if (words.length === 0) return 'a';
  // Frequent words first, but far less so than in running text: every word of a list should come up.
  return from === 'rare' ? pick(rng, words) : words[Math.floor(words.length * rng.next() ** 1.7)];
}

function grouped(value: string, separator: string): string {
  return value.replace(/\B(?=(\d{3})+$)/g, separator);
}

const figureKinds: readonly ((rng: Rng) => string)[] = [
  (rng) => String(rng.integer(0, 100)),
  (rng) => digits(rng, rng.integer(1, 8)),
  (rng) => String(rng.integer(1800, 2040)),
  (rng) => `${rng.integer(0, 1000)}${pick(rng, '.,')}${digits(rng, rng.integer(1, 4))}`,
  (rng) => grouped(String(rng.integer(1000, 99999999)), pick(rng, ',.')),
  (rng) => `${rng.integer(0, 101)}${pick(rng, ['%', '%', '.5%', ' %', '°', '°C', ' kg', ' mm', 'px', ' m'])}`,
  (rng) => `${pick(rng, ['$', '€', '£', '¥'])}${rng.integer(0, 1000)}${pick(rng, ['', '.99', `.${digits(rng, 2)}`])}`,
  (rng) => `${rng.integer(0, 10000)}${pick(rng, [',', '.'])}${digits(rng, 2)}${pick(rng, [' €', '€', ' £', ' $'])}`,
  (rng) =>
    `${two(rng.integer(1, 32))}${pick(rng, './-')}${two(rng.integer(1, 13))}${pick(rng, './-')}${rng.integer(1900, 2040)}`,
  (rng) => `${rng.integer(1900, 2040)}-${two(rng.integer(1, 13))}-${two(rng.integer(1, 32))}`,
  (rng) => `${rng.integer(1, 32)} ${pick(rng, months)} ${rng.integer(1900, 2040)}`,
  (rng) => `${pick(rng, months).slice(0, 3)}. ${rng.integer(1, 32)}, ${rng.integer(1900, 2040)}`,
  (rng) => `${rng.integer(0, 24)}:${two(rng.integer(0, 60))}${pick(rng, ['', '', ' am', ' p.m.', ':30'])}`,
  (rng) => `${rng.integer(1, 400)}${pick(rng, '–-')}${rng.integer(1, 400)}`,
  (rng) => `+${rng.integer(1, 99)} ${digits(rng, 3)} ${digits(rng, rng.integer(4, 8))}`,
  (rng) => `(${digits(rng, 3)}) ${digits(rng, 3)}-${digits(rng, 4)}`,
  (rng) => `${pick(rng, 'v§#')}${rng.integer(0, 30)}.${rng.integer(0, 20)}`,
  (rng) => `${rng.integer(1, 30)}${pick(rng, ['.', ')', '.)', 'th', 'st', 'x', '/2'])}`,
  (rng) => `[${rng.integer(1, 200)}]`,
  (rng) => `${pick(rng, '±-+×<>=~')}${rng.integer(0, 100)}`,
  (rng) =>
    `${pick(rng, 'ABCDEFGHKLMNPRSTUVWXYZ')}${pick(rng, 'ABCDEFGHKLMNPRSTUVWXYZ')}-${digits(rng, rng.integer(2, 7))}`,
  (rng) => pick(rng, ['I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX', 'X', 'XI', 'XIV', 'XIX', 'XX', 'MMXX']),
];

function address(rng: Rng, lexicon: Lexicon): string {
  const name = () => rawWord(rng, lexicon).toLowerCase();
  const end = pick(rng, ['com', 'org', 'net', 'de', 'fr', 'es', 'io', 'co.uk', 'eu', 'edu']);
  return pick(rng, [
    () => `${name()}@${name()}.${end}`,
    () => `${name()}.${name()}@${name()}.${end}`,
    () => `www.${name()}.${end}`,
    () => `https://${name()}.${end}/${name()}`,
    () => `http://${name()}.${end}/${name()}?${name()}=${digits(rng, 2)}`,
    () => `/${name()}/${name()}/${name()}.${pick(rng, ['txt', 'ts', 'png', 'pdf'])}`,
    () => `C:\\${capital(name())}\\${name()}.exe`,
    () => `@${name()}_${digits(rng, 2)}`,
    () => `#${name()}`,
  ])();
}

function code(rng: Rng, lexicon: Lexicon): string {
  const name = () => rawWord(rng, lexicon).replace(/[^A-Za-z]/g, '') || 'x';
  return pick(rng, [
    () => `${name()}(${name()}, ${digits(rng, 1)});`,
    () => `${name()}_${name()}`,
    () => `${name()}${capital(name())}()`,
    () => `{${name()}: "${name()}"}`,
    () => `${name()}[${digits(rng, 1)}] += ${digits(rng, 2)};`,
    () => `if (${name()} != ${digits(rng, 1)}) {`,
    () => `<${name()}>`,
    () => `</${name()}>`,
    () => `$${name()}`,
    () => `--${name()}=${digits(rng, 2)}`,
    () => `0x${rng.nextUint32().toString(16)}`,
    () => `${name()} = '${name()}' | ${name()} && !${name()}`,
    () => `\`${name()}\``,
    () => `${name()}^${digits(rng, 1)} * ~${name()}`,
    () => `// ${name()} ${name()}`,
    () => `}`,
  ])();
}

function randomCharacters(rng: Rng, charset: readonly string[]): string {
  return Array.from({ length: rng.integer(1, 8) }, () => pick(rng, charset)).join('');
}

const enclosures: readonly (readonly [string, string])[] = [
  ['“', '”'],
  ['“', '”'],
  ['"', '"'],
  ["'", "'"],
  ['‘', '’'],
  ['„', '“'],
  ['«', '»'],
  ['« ', ' »'],
  ['(', ')'],
  ['(', ')'],
  ['[', ']'],
  ['{', '}'],
  ['<', '>'],
  ['*', '*'],
  ['¡', '!'],
  ['¿', '?'],
];

function word(rng: Rng, lexicon: Lexicon): string {
  let written = rawWord(rng, lexicon);
  if (chance(rng, 0.03)) written += `-${rawWord(rng, lexicon)}`;
  if (chance(rng, 0.03)) written += pick(rng, ['’s', "'s", '’t', "'ll", '’re']);
  const letters = pickWeighted(rng, { lower: 0.74, capital: 0.18, upper: 0.07, mixed: 0.01 });
  if (letters === 'capital') written = capital(written);
  else if (letters === 'upper') written = upper(written);
  else if (letters === 'mixed') written = written.slice(0, 2) + capital(written.slice(2));
  const mark = rng.next();
  if (mark < 0.06) return written + pick(rng, ['.', '.', '.', '?', '!', '…', '...', '?!']);
  if (mark < 0.14) return `${written},`;
  if (mark < 0.17) return written + pick(rng, [':', ';', '-', ' –', ' —', '—']);
  if (mark < 0.22) {
    const [open, close] = pick(rng, enclosures);
    return open + written + close + pick(rng, ['', '', ',', '.', ':']);
  }
  return written;
}

const standalone = [
  '–',
  '—',
  '•',
  '&',
  '+',
  '=',
  '/',
  '|',
  '·',
  '*',
  '#',
  '<',
  '>',
  '~',
  '…',
  '§',
  '©',
  '×',
  '->',
  '::',
];

function piece(rng: Rng, manner: Manner, options: TextOptions, charset: readonly string[]): string {
  const { lexicon } = options;
  if (manner === 'signs') return randomCharacters(rng, charset);
  if (manner === 'figures') return chance(rng, 0.8) ? pick(rng, figureKinds)(rng) : word(rng, lexicon);
  if (manner === 'code') return chance(rng, 0.8) ? code(rng, lexicon) : word(rng, lexicon);
  if (manner === 'upper') return upper(word(rng, lexicon));
  if (manner === 'title') return capital(rawWord(rng, lexicon));
  const kind = rng.next();
  if (kind < 0.83) return word(rng, lexicon);
  if (kind < 0.92) return pick(rng, figureKinds)(rng);
  if (kind < 0.945) return pick(rng, standalone);
  if (kind < 0.96) return address(rng, lexicon);
  if (kind < 0.975) return code(rng, lexicon);
  return randomCharacters(rng, charset);
}

const sortedCharsets = new WeakMap<ReadonlySet<string>, readonly string[]>();

/** The drawable characters but the space, as a list. */
function charactersOf(charset: ReadonlySet<string>): readonly string[] {
  let list = sortedCharsets.get(charset);
  if (!list) {
    list = [...charset].filter((character) => character !== ' ');
    sortedCharsets.set(charset, list);
  }
  return list;
}

/**
 * A line of text: words, figures, addresses, code and signs, single-spaced, without a space at either end, never empty. Every
 * character is of `charset`. Pieces that would make it longer than `maxChars` are left out; a first one is cut.
 */
export function sampleText(rng: Rng, options: TextOptions): string {
  const { charset, minWords, maxWords, maxChars } = options;
  const characters = charactersOf(charset);
  const manner = pickWeighted<Manner>(rng, {
    prose: 0.83,
    upper: 0.03,
    title: 0.03,
    figures: 0.05,
    code: 0.03,
    signs: 0.03,
  });
  const wanted = rng.integer(minWords, maxWords + 1);
  let text = '';
  for (let tries = 0, words = 0; words < wanted && tries < wanted * 4; tries++) {
    const next = piece(rng, manner, options, characters);
    const joined = text === '' ? next : `${text} ${next}`;
    const count = joined.split(' ').length;
    if (count > maxWords && text !== '') continue;
    if (joined.length > maxChars || ![...next].every((character) => charset.has(character))) continue;
    text = joined;
    words = count;
  }
  return text || randomCharacters(rng, characters).slice(0, maxChars);
}

/** A sentence of running text: a capital first, mostly frequent words, commas and a stop. Every character is of `charset`. */
export function sampleSentence(rng: Rng, { lexicon, charset }: Pick<TextOptions, 'lexicon' | 'charset'>): string {
  const words: string[] = [];
  for (let wanted = rng.integer(5, 22); words.length < wanted; ) {
    const kind = rng.next();
    const next =
      kind < 0.9
        ? rawWord(rng, lexicon)
        : kind < 0.95
          ? pick(rng, figureKinds)(rng)
          : kind < 0.98
            ? `${pick(rng, '“('.concat('«'))}${rawWord(rng, lexicon)}`
            : address(rng, lexicon);
    const closed = next.startsWith('“') ? `${next}”` : next.startsWith('«') ? `${next}»` : next;
    const whole = closed.startsWith('(') && !closed.includes(')') ? `${closed})` : closed;
    if ([...whole].every((character) => charset.has(character))) words.push(whole);
  }
  const commas = words.map((each, i) =>
    i < words.length - 1 && /[\p{L}\d]$/u.test(each) && chance(rng, 0.09) ? `${each},` : each,
  );
  const text = commas.join(' ');
  return capital(text) + pick(rng, ['.', '.', '.', '.', '.', '?', '!', ':']);
}
