/** Reading a page as a whole: one row, which in a loop is continued from before it in another way. */
import { createTextStream } from '../text/stream.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { RowAttempt } from './engine.js';
import type { GeneratedRow } from './generate.js';
import { type Loop, loopAtEnd, repeatedTail } from './loops.js';
import type { PreparedImage } from './prepare.js';
import { coverageWarning, endWarnings, promptIds, type Reader, shareOf } from './reader.js';
import type { ReadOptions, ReadResult } from './reading.js';
import { createAttempts, type Problem, pageWays, retryWarning, waysWithin } from './retries.js';

/** The text of a page while its row grows. */
interface GrowingText {
  /** Takes a token; true where the text has come to a stop string. */
  push(token: number): boolean;
  /** Begins anew with tokens that were there before: what was given away of them stays given away. */
  restart(tokens: readonly number[]): void;
  /** The whole text; gives away the rest of it. */
  end(): string;
}

/**
 * Text goes to `onText` as it comes. Where a loop would be undone, what may be the beginning of one waits until it is none; after a
 * restart all waits for the end.
 */
function createGrowingText(tokenizer: Tokenizer, { stop, onText }: ReadOptions, undoesLoops: boolean): GrowingText {
  const openStream = () => createTextStream(tokenizer, stop && { stop });
  let stream = openStream();
  let [text, given, restarted] = ['', 0, false];
  const tokens: number[] = [];
  /** Where the text ended after each token. */
  const ends: number[] = [];
  const giveUpTo = (end: number) => {
    if (end <= given) return;
    onText?.(text.slice(given, end));
    given = end;
  };
  const take = (token: number) => {
    text += stream.push(token);
    tokens.push(token);
    ends.push(text.length);
  };
  return {
    push: (token) => {
      take(token);
      const waiting = undoesLoops ? repeatedTail(tokens) : 0;
      if (!restarted) giveUpTo(ends[tokens.length - 1 - waiting]);
      return stream.stopped() !== undefined;
    },
    restart: (kept) => {
      [stream, text, restarted] = [openStream(), '', true];
      tokens.length = 0;
      ends.length = 0;
      kept.forEach(take);
    },
    end: () => {
      text += stream.end();
      giveUpTo(text.length);
      return text;
    },
  };
}

/** A row that goes on from before the loop that another ended in. The loop itself is what penalties see, whole passages of it. */
function attemptFrom(ids: readonly number[], tokens: readonly number[], { start, period }: Loop): RowAttempt {
  const passages = Math.floor((tokens.length - start) / period);
  const history = [...ids, ...tokens.slice(0, start + passages * period)];
  return { ids: [...ids, ...tokens.slice(0, start)], history };
}

export async function readPage(
  reader: Reader,
  { pixels, lineAspects }: Extract<PreparedImage, { kind: 'page' }>,
  options: ReadOptions,
): Promise<ReadResult> {
  const { tokenizer, engine, config } = reader;
  const { eosId = config.decoder.eosIds, maxNewTokens = 512, minNewTokens = 0 } = options;
  const started = performance.now();
  const ids = promptIds(reader, options);
  const ways = waysWithin(pageWays, options);
  const attempts = createAttempts(ways);
  const growing = createGrowingText(tokenizer, options, ways.length > 0);
  let anew: RowAttempt | undefined;
  const keptTokens = () => anew?.ids.slice(ids.length) ?? [];
  const {
    rows: [row],
    tower,
    firstToken,
  } = await engine.submit({
    stopLoops: true,
    ...options,
    eosId,
    rows: [{ ids, picture: { shape: pixels.shape, draw: (into) => into.set(pixels.data) } }],
    onToken: (_, token) => growing.push(token),
    onRow: (_, ended) => {
      const way = attempts.add({ row: ended, text: '', confidence: 0, problem: problemOf(ended, anew !== undefined) });
      if (!way) return undefined;
      const loop = loopAtEnd(ended.tokens);
      if (loop) anew ??= attemptFrom(ids, ended.tokens, loop);
      growing.restart(keptTokens());
      const kept = keptTokens().length;
      const left = { maxNewTokens: maxNewTokens - kept, minNewTokens: Math.max(0, minNewTokens - kept) };
      return anew && { ...anew, ...left, ...way };
    },
  });
  const failed = anew !== undefined && row.finishReason !== 'aborted' && attempts.best().problem !== undefined;
  if (failed) growing.restart(keptTokens());
  const text = growing.end();
  const finishReason = failed ? 'repetition' : row.finishReason;
  const coverage = coverageOf(text, lineAspects);
  const retried = [attempts.retried()].filter((one) => one !== undefined);
  return {
    text,
    finishReason,
    warnings: [
      ...endWarnings(finishReason),
      ...retryWarning(retried),
      ...(finishReason === 'stop' ? coverageWarning(coverage) : []),
    ],
    ...(retried.length > 0 && { retried }),
    usage: {
      promptTokens: ids.length,
      completionTokens: keptTokens().length + (failed ? 0 : row.tokens.length),
    },
    timing: { tower, firstToken, decode: (performance.now() - started) / 1000 - firstToken },
    coverage,
  };
}

/** A first attempt may be as long as it was allowed to be; one that begins anew is expected to end. */
function problemOf({ finishReason }: GeneratedRow, isAnew: boolean): Problem | undefined {
  if (finishReason === 'repetition') return finishReason;
  return isAnew && finishReason === 'length' ? finishReason : undefined;
}

/** Characters of print that stand on a width of one line's height of ink, at least: wide capitals, spaced. */
const leastCharacters = 0.8;

/** The share of lines whose ink the text could be, by their length alone. */
function coverageOf(text: string, lineAspects: readonly number[]): number {
  const expected = lineAspects.reduce((sum, aspect) => sum + leastCharacters * aspect, 0);
  return Math.min(1, shareOf(text.replaceAll(/\s+/g, '').length, expected));
}
