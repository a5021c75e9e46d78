// Runs the compiled tests of the named tiers: node scripts/test.js unit ort parity [-- node:test options]
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const split = process.argv.indexOf('--');
const tiers = process.argv.slice(2, split < 0 ? undefined : split);
const options = split < 0 ? [] : process.argv.slice(split + 1);
const files = tiers.flatMap((tier) => {
  const folder = join('dist', 'test', tier);
  if (!existsSync(folder)) throw new Error(`no tests at ${folder}: run npm run build:test`);
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.test.js') && existsSync(join('test', tier, name.replace(/\.js$/, '.ts'))))
    .map((name) => join(folder, name))
    .sort();
});
if (files.length === 0) throw new Error(`no test files in ${tiers.join(', ')}`);
const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...options, ...files], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
