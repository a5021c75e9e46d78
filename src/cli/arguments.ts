import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../core/errors.js';
import { didYouMean } from './nearest.js';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly help: string;
  /** How help names the value. */
  readonly value?: string;
  /** What is named is written, also when nobody reads standard output any more; that a file can be is looked at before the work. */
  readonly writes?: 'file' | 'directory';
  /** What is named is read: no output may be that file. */
  readonly reads?: true;
  /** May be given several times: `texts` has all of them. */
  readonly multiple?: boolean;
}
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** What a number may be; nothing said is any. */
export interface NumberRange {
  readonly whole?: boolean;
  readonly above?: number;
  readonly from?: number;
  readonly to?: number;
  /** What else is said of one that is more than `to`. */
  readonly why?: string;
}

/** What was given: options by name, and the rest. */
export interface Arguments {
  readonly positionals: readonly string[];
  text(name: string): string | undefined;
  /** Every value of an option that may be repeated. */
  texts(name: string): readonly string[];
  flag(name: string): boolean;
  /** A whole number above 0, and in the range. Throws InputError for anything else. */
  count(name: string, range?: Pick<NumberRange, 'to' | 'why'>): number | undefined;
  /** A whole number from 0, and in the range. Throws InputError for anything else. */
  index(name: string, range?: Pick<NumberRange, 'to'>): number | undefined;
  /** A number in the range. Throws InputError for anything else. */
  number(name: string, range?: NumberRange): number | undefined;
  /** One of `choices`. Throws InputError for anything else. */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined;
}

/** Parses a command's arguments; unknown options are an InputError. */
export function parseArguments(args: readonly string[], specs: OptionSpecs): Arguments {
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short && { short }), ...(multiple && { multiple }) },
    ]),
  );
  let parsed: { values: Record<string, unknown>; positionals: string[]; tokens: readonly Token[] };
  try {
    parsed = parseArgs({ args: joinNegatives(args, specs), options, allowPositionals: true, tokens: true });
  } catch (cause) {
    const unknown = /^Unknown option '--?([^']+)'/.exec(messageOf(cause))?.[1];
    if (unknown !== undefined) throw new InputError(unknownOption(unknown, specs), { cause });
    throw new InputError(messageOf(cause).replaceAll('\n', ' '), { cause });
  }
  expectOnce(parsed.tokens, specs);
  const text = (name: string) => parsed.values[name] as string | undefined;
  const number = (name: string, range: NumberRange = {}) => {
    const given = text(name);
    if (given === undefined) return undefined;
    const value = given.trim() === '' ? Number.NaN : Number(given);
    if (isWithin(value, range)) return value;
    const why = range.why !== undefined && value > (range.to ?? value) ? `; ${range.why}` : '';
    throw new InputError(`--${name}: expected ${describeRange(range)}, got ${given}${why}`);
  };
  return {
    positionals: parsed.positionals,
    text,
    texts: (name) => (parsed.values[name] as readonly string[] | undefined) ?? [],
    flag: (name) => parsed.values[name] === true,
    count: (name, range) => number(name, { whole: true, above: 0, ...range }),
    index: (name, range) => number(name, { whole: true, from: 0, ...range }),
    number,
    choice: (name, choices) => {
      const given = text(name);
      if (given === undefined) return undefined;
      const found = choices.find((choice) => choice === given);
      if (!found) throw new InputError(`--${name}: expected one of ${choices.join(', ')}, got ${given}`);
      return found;
    },
  };
}

function isWithin(value: number, range: NumberRange): boolean {
  const { whole = false, above = Number.NEGATIVE_INFINITY, from = above, to = Number.POSITIVE_INFINITY } = range;
  return Number.isFinite(value) && (!whole || Number.isInteger(value)) && value > above && value >= from && value <= to;
}

/** `a whole number above 0 and at most 16`, `a number from 0 to 1`. */
function describeRange({ whole = false, above, from, to }: NumberRange): string {
  const lower = above !== undefined ? ` above ${above}` : from !== undefined ? ` from ${from}` : '';
  const upper = to === undefined ? '' : from !== undefined ? ` to ${to}` : `${lower && ' and'} at most ${to}`;
  return `${whole ? 'a whole number' : 'a number'}${lower}${upper}`;
}

interface Token {
  readonly kind: string;
  readonly name?: string;
}

/** Of two values one would win in silence. */
function expectOnce(tokens: readonly Token[], specs: OptionSpecs): void {
  const seen = new Set<string>();
  for (const { kind, name = '' } of tokens) {
    if (kind !== 'option' || specs[name]?.multiple) continue;
    if (seen.has(name)) throw new InputError(`--${name}: is given more than once; give it once`);
    seen.add(name);
  }
}

/** `--top -1` as `--top=-1`, `-p -1` as `-p-1`: a negative number is a value, to be refused by what it is. */
function joinNegatives(args: readonly string[], specs: OptionSpecs): string[] {
  const joined: string[] = [];
  for (const [i, arg] of args.entries()) {
    if (arg === '--') return [...joined, ...args.slice(i)];
    const before = joined.at(-1);
    const named =
      before && Object.entries(specs).find(([name, { short }]) => [`--${name}`, `-${short}`].includes(before));
    if (named && named[1].type === 'string' && /^-[\d.]/.test(arg))
      joined[joined.length - 1] = `${before}${before.startsWith('--') ? '=' : ''}${arg}`;
    else joined.push(arg);
  }
  return joined;
}

function unknownOption(name: string, specs: OptionSpecs): string {
  const hint = didYouMean(name, Object.keys(specs), '--');
  return `there is no option ${name.length > 1 ? '--' : '-'}${name}${hint}; --help lists them all`;
}

/** The options of a command as help lines. */
export function describeOptions(specs: OptionSpecs): string {
  const rows = Object.entries(specs).map(([name, { short, value, help }]) => {
    const left = `${short ? `-${short}, ` : '    '}--${name}${value ? ` ${value}` : ''}`;
    return [left, help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, help]) => `  ${left.padEnd(width)}${help}`).join('\n');
}
