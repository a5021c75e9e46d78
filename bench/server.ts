/**
 * What a server owes its clients, with random weights: node dist/bench/server.js [readers] [first] [loop] [options]
 *   readers: tokens a second of several readers at once against one, each reading what it reads alone
 *   first: time to the first token of a page while others decode, and how long they pause meanwhile
 *   loop: the longest pause of the event loop while a server answers requests of every kind
 * Prints a Markdown table. `--size tiny` tries it out; figures are those of `--size full`, on a machine without other work.
 */
import { availableParallelism } from 'node:os';
import { type Arguments, parseArguments } from '../src/cli/arguments.js';
import { InputError } from '../src/core/errors.js';
import { openBenchEngine } from './server-engine.js';
import { benchFirstToken, benchReaders } from './server-latency.js';
import { benchEventLoop } from './server-loop.js';
import { sizes } from './server-sizes.js';

/** One row of the table; `ok` says whether it reaches its goal. */
export interface Row {
  readonly what: string;
  readonly value: string;
  readonly goal: string;
  readonly ok: boolean;
}

const parts = ['readers', 'first', 'loop'] as const;

async function measure(wanted: readonly string[], args: Arguments): Promise<Row[]> {
  const size = sizes[args.choice('size', ['full', 'tiny']) ?? 'full'];
  const threads = args.count('threads') ?? availableParallelism();
  const [readers, tokens, rounds] = [
    args.count('readers') ?? 8,
    args.count('tokens') ?? size.tokens,
    args.count('rounds') ?? 3,
  ];
  const rows: Row[] = [];
  if (wanted.includes('readers') || wanted.includes('first')) {
    const segments = wanted.includes('first') ? (args.count('tower-segments') ?? 12) : 0;
    const bench = await openBenchEngine(size, { threads, slots: readers, segments });
    if (wanted.includes('readers')) rows.push(...(await benchReaders(bench, { readers, tokens, rounds })));
    if (wanted.includes('first')) rows.push(...(await benchFirstToken(bench, { readers, rounds })));
    await bench.dispose();
  }
  if (wanted.includes('loop')) rows.push(...(await benchEventLoop(size, { threads, rounds })));
  return rows;
}

const args = parseArguments(process.argv.slice(2), {
  size: { type: 'string', help: 'full or tiny' },
  threads: { type: 'string', help: 'threads of the model' },
  readers: { type: 'string', help: 'readers at once' },
  tokens: { type: 'string', help: 'tokens of each reader' },
  rounds: { type: 'string', help: 'how often everything is measured; medians count' },
  'tower-segments': { type: 'string', help: 'parts of the tower' },
});
const unknown = args.positionals.find((name) => !(parts as readonly string[]).includes(name));
if (unknown !== undefined) throw new InputError(`expected some of ${parts.join(', ')}, got ${unknown}`);
const rows = await measure(args.positionals.length === 0 ? parts : args.positionals, args);
console.log('| what | measured | goal | |\n|---|---|---|---|');
for (const { what, value, goal, ok } of rows)
  console.log(`| ${what} | ${value} | ${goal} | ${ok ? 'met' : 'missed'} |`);
process.exitCode = rows.every(({ ok }) => ok) ? 0 : 1;
