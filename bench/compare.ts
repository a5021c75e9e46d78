// Ours and PyTorch's figures, interleaved: node dist/bench/compare.js PYTHON [rounds]. Prints a Markdown table of medians.
import { spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';

const [python = 'python3', rounds = '3'] = process.argv.slice(2);
const root = fileURLToPath(new URL('../../', import.meta.url));

interface Row {
  readonly what: string;
  readonly ours: readonly string[];
  readonly reference: readonly string[];
  readonly figure: string;
  /** Smaller figures are better. */
  readonly isTime: boolean;
}

const decode = (precision: string, batch = '1'): Row => ({
  what: `decode, ${precision}, batch ${batch} (tokens/s)`,
  ours: ['decode', '--precision', precision, '--batch', batch],
  reference: ['decode', '--batch', batch],
  figure: 'tokensPerSecond',
  isTime: false,
});
const rows: readonly Row[] = [
  { what: 'tower, 1024² page (s)', ours: ['tower'], reference: ['tower'], figure: 'secondsPerPage', isTime: true },
  decode('float32'),
  decode('int8'),
  decode('int4'),
  decode('float32', '8'),
  {
    what: 'page: tower + 500 tokens, int8 (s)',
    ours: ['page', '--precision', 'int8', '--repeats', '2'],
    reference: ['page'],
    figure: 'seconds',
    isTime: true,
  },
];

function measure(command: string, args: readonly string[], figure: string): number {
  const { stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return (JSON.parse(line) as Record<string, number>)[figure];
}
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

process.stderr.write(`load ${loadavg()[0].toFixed(2)}\n`);
process.stdout.write('| what | ours | PyTorch | ratio |\n|---|---|---|---|\n');
for (const { what, ours, reference, figure, isTime } of rows) {
  const [mine, theirs]: [number[], number[]] = [[], []];
  for (let round = 0; round < Number(rounds); round++) {
    mine.push(measure(process.execPath, ['bin/varyclip.js', 'bench', ...ours, '--json', '--threads', '2'], figure));
    theirs.push(measure(python, ['bench/reference.py', ...reference, '--threads', '2'], figure));
  }
  const [a, b] = [median(mine), median(theirs)];
  const ratio = isTime ? b / a : a / b;
  process.stdout.write(`| ${what} | ${a.toFixed(2)} | ${b.toFixed(2)} | ${ratio.toFixed(2)}× |\n`);
}
