// From the start of a process to the tower's first operation with a full-size float32 checkpoint on disk, and the memory that a
// reading takes, beside PyTorch's: node dist/bench/start.js PYTHON [ROUNDS]. Makes the checkpoint (1 GB, random) in a temporary folder.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadModel } from '../src/index.js';
import { varyTiny } from '../src/models/vary.js';
import { writeRandomCheckpoint } from '../src/node/init-vary.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** One process: reads a page twice, shortly. */
async function measureOurs(folder: string): Promise<void> {
  const model = await loadModel(folder, { threads: 2 });
  if (model.kind !== 'vary') throw new Error(`${folder}: expected a Vary checkpoint`);
  const read = () => model.read(join(root, 'examples/page.png'), { maxNewTokens: 20, readBlank: true });
  const before = performance.now();
  const first = await read();
  const second = await read();
  // What comes before the first tower run: all until the first token but the tower and a prefill, as the second reading has it.
  const prefill = second.timing.firstToken - second.timing.tower;
  const steady = Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
  await model.dispose();
  process.stdout.write(
    JSON.stringify({
      secondsToTower: before / 1000 + first.timing.firstToken - first.timing.tower - prefill,
      steadyRssBytes: steady,
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    }),
  );
}

type Figures = Record<'secondsToTower' | 'steadyRssBytes' | 'peakRssBytes', number>;

function run(command: string, args: readonly string[]): Figures {
  const { stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) throw new Error(`${command}: ${stderr.slice(-2000)}`);
  return JSON.parse(line) as Figures;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function compare(python: string, rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'varyclip-start-'));
  try {
    const checkpoint = join(folder, 'vary');
    await writeRandomCheckpoint(checkpoint, varyTiny, 1);
    const [ours, theirs]: [Figures[], Figures[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      ours.push(run(process.execPath, [fileURLToPath(import.meta.url), '--one', checkpoint]));
      theirs.push(run(python, ['bench/reference.py', 'start', '--model', checkpoint, '--threads', '2']));
    }
    const row = (name: string, figure: keyof Figures, unit: number) => {
      const [a, b] = [ours, theirs].map((all) => median(all.map((each) => each[figure])) / unit);
      process.stdout.write(`| ${name} | ${a.toFixed(2)} | ${b.toFixed(2)} | ${(b / a).toFixed(2)}× |\n`);
    };
    process.stdout.write('| what | ours | PyTorch | ratio |\n|---|---|---|---|\n');
    row('start to the first tower operation (s)', 'secondsToTower', 1);
    row('steady memory (GB)', 'steadyRssBytes', 1e9);
    row('peak memory (GB)', 'peakRssBytes', 1e9);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const [first = 'python3', second] = process.argv.slice(2);
if (first === '--one' && second !== undefined) await measureOurs(second);
else await compare(first, Number(second ?? 3));
