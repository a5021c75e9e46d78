// Ours and the references' figures, interleaved: node dist/bench/compare.js PYTHON [ROUNDS] [WHAT]. Prints a Markdown table of
// medians. WHAT is a part of the rows' names. With TRANSFORMERS_JS, a node_modules folder, CLIP's rows have transformers.js too.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [python = 'python3', rounds = '3', only = ''] = process.argv.slice(2);
const modules = process.env['TRANSFORMERS_JS'];
const threads = '2';
const root = fileURLToPath(new URL('../../', import.meta.url));

type Precision = 'float32' | 'int8' | 'int4';

interface Row {
  readonly name: string;
  /** What both benches call it. */
  readonly what: string;
  readonly precision?: Precision;
  readonly batch?: string;
  readonly figure: 'secondsPerPage' | 'tokensPerSecond' | 'seconds' | 'millisecondsPerImage';
  readonly repeats?: string;
}

const decode = (precision: Precision, batch = '1'): Row => ({
  name: `decode, ${precision}, batch ${batch} (tokens/s)`,
  what: 'decode',
  precision,
  batch,
  figure: 'tokensPerSecond',
});
const clip = (what: string, name: string, precision: Precision, batch: string): Row => ({
  name: `${name}, ${precision}, batch ${batch} (ms an image)`,
  what,
  precision,
  batch,
  figure: 'millisecondsPerImage',
});
const rows: readonly Row[] = [
  { name: 'tower, 1024² page (s)', what: 'tower', figure: 'secondsPerPage' },
  decode('float32'),
  decode('int8'),
  decode('int4'),
  decode('float32', '8'),
  { name: 'page: tower + 500 tokens, int8 (s)', what: 'page', precision: 'int8', figure: 'seconds', repeats: '2' },
  ...(['float32', 'int8'] as const).flatMap((precision) =>
    ['1', '8'].flatMap((batch) => [
      clip('clip-b32', 'CLIP ViT-B/32', precision, batch),
      clip('clip-l14', 'CLIP ViT-L/14', precision, batch),
    ]),
  ),
];

function measure(command: string, args: readonly string[], figure: string): number {
  const { stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) throw new Error(`${command} ${args.join(' ')}: ${stderr.slice(-2000)}`);
  return (JSON.parse(line) as Record<string, number>)[figure];
}
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

const exported = mkdtempSync(join(tmpdir(), 'varyclip-bench-'));
/** The folder of a model that PyTorch wrote for transformers.js. */
function exportOnce(what: string): string {
  const folder = join(exported, what);
  if (!existsSync(folder)) {
    const { status, stderr } = spawnSync(python, ['bench/reference.py', what, '--export', folder], {
      cwd: root,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`${what}: ${stderr.slice(-2000)}`);
  }
  return folder;
}

/** Who is measured, in turns. */
function contenders({ what, precision, batch = '1', figure, repeats }: Row): Record<string, () => number> {
  const ours = ['bin/varyclip.js', 'bench', what, '--batch', batch, '--json', '--threads', threads];
  if (precision) ours.push('--precision', precision);
  if (repeats !== undefined) ours.push('--repeats', repeats);
  return {
    ours: () => measure(process.execPath, ours, figure),
    PyTorch: () => measure(python, ['bench/reference.py', what, '--batch', batch, '--threads', threads], figure),
    ...(modules !== undefined &&
      what.startsWith('clip') && {
        'transformers.js': () =>
          measure(
            process.execPath,
            ['bench/transformers_js.js', modules, exportOnce(what), batch, threads],
            'millisecondsPerImage',
          ),
      }),
  };
}

process.stderr.write(`load ${loadavg()[0].toFixed(2)}\n`);
process.stdout.write('| what | ours | PyTorch | ratio | transformers.js | ratio |\n|---|---|---|---|---|---|\n');
try {
  for (const row of rows.filter(({ name }) => name.includes(only))) {
    const runs = Object.entries(contenders(row)).map(([name, run]) => ({ name, run, figures: [] as number[] }));
    for (let round = 0; round < Number(rounds); round++) for (const { run, figures } of runs) figures.push(run());
    const [own, ...others] = runs.map(({ figures }) => median(figures));
    const isTime = row.figure !== 'tokensPerSecond';
    const cells = others.flatMap((other) => [other.toFixed(2), `${(isTime ? other / own : own / other).toFixed(2)}×`]);
    process.stdout.write(`| ${[row.name, own.toFixed(2), ...cells].join(' | ')} |\n`);
  }
} finally {
  rmSync(exported, { recursive: true, force: true });
}
