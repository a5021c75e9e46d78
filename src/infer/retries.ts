/** What was read badly is read again in another way: for what, how, and which of the attempts counts. */
import { InputError } from '../core/errors.js';
import { type Gray, resizeGray } from '../image/gray.js';
import { cropWithMargin } from '../image/lines.js';
import type { GeneratedRow } from './generate.js';
import type { PenaltyOptions } from './processors.js';

/** What is wrong with an attempt: a loop, no end within the model's positions, no text, little confidence. */
export type Problem = 'repetition' | 'length' | 'empty' | 'uncertain';

/** Something that was tried again. */
export interface Retried {
  /** Which of the reading's lines, from 0; not there where a page is read as a whole. */
  readonly line?: number;
  /** What was wrong with the first attempt. */
  readonly problem: Problem;
  /** How many there were, the first included. */
  readonly attempts: number;
  /** Which of them the text is of, from 1. */
  readonly kept: number;
}

/** How a page that fell into a loop goes on from before it: without passages of so many tokens that it had, then more strictly. */
export const pageWays: readonly PenaltyOptions[] = [
  { noRepeatNgramSize: 8 },
  { noRepeatNgramSize: 4, repetitionPenalty: 1.3 },
];

/** How a line is shown anew: smaller, then wider, but no wider than `most`. Its height stays. */
export const lineWays: readonly ((line: Gray, most: number) => Gray)[] = [
  ({ width, height, data }, most) => {
    const framed = cropWithMargin({ width, height, data }, { left: 0, top: 0, width, height }, 0.15);
    return resizeGray(framed, { width: scaled(framed.width, height / framed.height, most), height });
  },
  (line, most) => resizeGray(line, { width: scaled(line.width, 1.15, most), height: line.height }),
];

/** Attempts beyond the first that there are ways for. */
export const mostRetries: number = Math.max(pageWays.length, lineWays.length);

const scaled = (length: number, scale: number, most: number) => Math.min(most, Math.max(1, Math.round(scale * length)));

/** Those of `ways` that `retries` allows. Throws InputError where it is no whole number from 0. */
export function waysWithin<W>(
  ways: readonly W[],
  { retries = ways.length, stopLoops = true }: { readonly retries?: number; readonly stopLoops?: boolean },
): readonly W[] {
  if (!Number.isInteger(retries) || retries < 0) {
    throw new InputError(`retries: expected a whole number from 0, got ${retries}`);
  }
  return stopLoops ? ways.slice(0, retries) : [];
}

export interface Attempt {
  readonly row: GeneratedRow;
  readonly text: string;
  /** From 0 to 1. */
  readonly confidence: number;
  readonly problem: Problem | undefined;
}

/** The attempts at one row. */
export interface Attempts<W> {
  /** Takes the next one. Returns in which way to try again, if that is needed and there is a way left. */
  add(attempt: Attempt): W | undefined;
  /** One without a problem, or else the most confident of those that ended by themselves, or else the first. */
  best(): Attempt;
  retried(): Retried | undefined;
}

export function createAttempts<W>(ways: readonly W[]): Attempts<W> {
  const made: Attempt[] = [];
  const merit = ({ problem, confidence, row }: Attempt) =>
    problem === undefined ? 2 : row.finishReason === 'stop' ? confidence : -1;
  const bestIndex = () => made.reduce((best, attempt, i) => (merit(attempt) > merit(made[best]) ? i : best), 0);
  return {
    add: (attempt) => {
      made.push(attempt);
      return attempt.problem && ways[made.length - 1];
    },
    best: () => made[bestIndex()],
    retried: () => {
      const problem = made[0]?.problem;
      if (problem === undefined || made.length < 2) return undefined;
      return { problem, attempts: made.length, kept: bestIndex() + 1 };
    },
  };
}

const problemTexts: Readonly<Record<Problem, string>> = {
  repetition: 'fell into a loop',
  length: 'did not end',
  empty: 'had no text',
  uncertain: 'had little confidence',
};

/** A sentence for all that was tried again. */
export function retryWarning(retried: readonly Retried[]): string[] {
  if (retried.length === 0) return [];
  const reasons = [...new Set(retried.map(({ problem }) => problemTexts[problem]))].join(' or ');
  const [{ line, attempts, kept }] = retried;
  if (line === undefined) {
    const outcome = kept > 1 ? `attempt ${kept} is the text` : 'none was better';
    return [`reading ${reasons} and was tried ${attempts} times: ${outcome}`];
  }
  const count = new Set(retried.map((one) => one.line)).size;
  const better = new Set(retried.filter((one) => one.kept > 1).map((one) => one.line)).size;
  return [
    `${count} ${count === 1 ? 'line' : 'lines'} ${reasons} and ${count === 1 ? 'was' : 'were'} read again: ${better} better`,
  ];
}
