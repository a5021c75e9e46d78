// Kills a bulk reading of 500 pages 50 times, or as said: node scripts/soak-read.js [--kills N] [--pages N]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readThroughKills } from '../dist/test/helpers/read-through-kills.js';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '50' }, pages: { type: 'string', default: '500' } },
});
const [kills, pages] = [Number(values.kills), Number(values.pages)];
const seed = Date.now() % 2 ** 31;
const folder = mkdtempSync(join(tmpdir(), 'varyclip-soak-'));
try {
  const jobs = await readThroughKills(folder, pages, kills, seed);
  console.log(
    `ok: ${kills} kills in ${jobs} readings of ${pages} pages (seed ${seed}): every page once, files equal to an unbroken reading's`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
