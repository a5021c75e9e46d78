/** Readers at once through the engine: how much they read together, and how long they wait for each other. */
import type { Row } from './server.js';
import type { BenchEngine, Run } from './server-engine.js';

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
const longest = (runs: readonly Run[]) => Math.max(0, ...runs.map(({ from, to }) => to - from));
const ms = (value: number) => `${value.toFixed(1)} ms`;

/** Milliseconds from the first of runs of a kind to the end of the last. */
function spanOf(runs: readonly Run[], kind: Run['kind']): number {
  const own = runs.filter((run) => run.kind === kind);
  return (own.at(-1)?.to ?? 0) - (own[0]?.from ?? 0);
}

/** Milliseconds of the runs themselves. */
const insideOf = (runs: readonly Run[], kind: Run['kind']) =>
  runs.reduce((sum, run) => sum + (run.kind === kind ? run.to - run.from : 0), 0);

interface ReadersSettings {
  readonly readers: number;
  readonly tokens: number;
  readonly rounds: number;
}

/** Tokens a second of `readers` at once against one alone, alternating; every one of them must get what it gets alone. */
export async function benchReaders(
  { engine, runs, textRow }: BenchEngine,
  { readers, tokens, rounds }: ReadersSettings,
): Promise<Row[]> {
  const read = async (index: number) => {
    const { rows } = await engine.submit({ rows: [textRow(index)], eosId: null, maxNewTokens: tokens });
    return rows[0].tokens;
  };
  const solo: (readonly number[])[] = [];
  for (let i = 0; i < readers; i++) solo.push(await read(i));
  const [alone, together, outside]: [number[], number[], number[]] = [[], [], []];
  let equal = true;
  for (let round = 0; round < rounds; round++) {
    runs.length = 0;
    await read(round % readers);
    // The first token of a row is the prefill's.
    alone.push((1000 * (tokens - 1)) / spanOf(runs, 'step'));
    runs.length = 0;
    const all = await Promise.all(solo.map((_, i) => read(i)));
    together.push((1000 * readers * (tokens - 1)) / spanOf(runs, 'step'));
    outside.push(1 - insideOf(runs, 'step') / spanOf(runs, 'step'));
    equal &&= all.every((ids, i) => ids.join() === solo[i].join());
  }
  const [one, many] = [median(alone), median(together)];
  const different = new Set(solo.map((ids) => ids.join())).size;
  return [
    {
      what: `decoding, ${readers} readers against 1 (tokens/s)`,
      value: `${many.toFixed(1)} / ${one.toFixed(1)} = ${(many / one).toFixed(2)}×`,
      goal: '4×',
      ok: many / one >= 4,
    },
    {
      what: 'part of the decoding that is outside of the model',
      value: `${(100 * median(outside)).toFixed(1)} %`,
      goal: '≤ 5 %',
      ok: median(outside) <= 0.05,
    },
    {
      what: 'ids of every reader as alone',
      value: `${equal ? 'equal' : 'different'}, ${different} texts`,
      goal: 'equal',
      ok: equal,
    },
  ];
}

/** The first token of a page alone and while others decode, and the longest time these get none meanwhile. */
export async function benchFirstToken(
  { engine, runs, textRow, pageRow }: BenchEngine,
  { readers, rounds }: Pick<ReadersSettings, 'readers' | 'rounds'>,
): Promise<Row[]> {
  const firstToken = async (index: number) => {
    const { firstToken: seconds } = await engine.submit({ rows: [pageRow(index)], eosId: null, maxNewTokens: 1 });
    return 1000 * seconds;
  };
  await firstToken(0);
  const [alone, among, pauses, segments]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let round = 0; round < rounds; round++) {
    runs.length = 0;
    alone.push(await firstToken(round));
    const own = runs.filter(({ kind }) => kind === 'tower');
    segments.push(longest(own));
    const stop = new AbortController();
    const others = Array.from({ length: readers - 1 }, (_, i) => decodeUntil(stop.signal, { engine, row: textRow(i) }));
    await Promise.all(others.map(({ begun }) => begun));
    const from = performance.now();
    among.push(await firstToken(round));
    pauses.push(...others.map(({ pauseSince }) => pauseSince(from)));
    stop.abort();
    await Promise.all(others.map(({ ended }) => ended));
  }
  const [base, busy] = [median(alone), median(among)];
  const [pause, segment] = [Math.max(...pauses), Math.max(...segments)];
  return [
    {
      what: `first token of a page, ${readers - 1} others decoding, against alone`,
      value: `${ms(busy)} / ${ms(base)} = ${(busy / base).toFixed(2)}×`,
      goal: '≤ 1.3×',
      ok: busy / base <= 1.3,
    },
    {
      what: 'longest pause of the others against the longest segment of the tower',
      value: `${ms(pause)} / ${ms(segment)} = ${(pause / segment).toFixed(2)}×`,
      goal: '≤ 1.5×',
      ok: pause / segment <= 1.5,
    },
  ];
}

/** A row that decodes until it is stopped, again and again where its positions end. */
function decodeUntil(
  signal: AbortSignal,
  { engine, row }: Pick<BenchEngine, 'engine'> & { readonly row: ReturnType<BenchEngine['textRow']> },
) {
  const tokens: number[] = [];
  let onFirst: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    onFirst = resolve;
  });
  const onToken = () => {
    tokens.push(performance.now());
    onFirst();
    return false;
  };
  const run = async () => {
    while (!signal.aborted) {
      await engine.submit({ rows: [row], eosId: null, maxNewTokens: 4000, signal, onToken });
    }
  };
  return {
    begun,
    ended: run(),
    /** The longest time between two tokens of which the second came after `from`. */
    pauseSince: (from: number): number =>
      Math.max(0, ...tokens.map((at, i) => (i > 0 && at > from ? at - tokens[i - 1] : 0))),
  };
}
