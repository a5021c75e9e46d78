// Kills a bulk reading of 500 pages 50 times (or as often as said) at random moments: node scripts/soak-read.js [N]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readThroughKills } from '../dist/test/helpers/read-through-kills.js';

const kills = Number(process.argv[2] ?? 50);
const seed = Date.now() % 2 ** 31;
const folder = mkdtempSync(join(tmpdir(), 'varyclip-soak-'));
try {
  const jobs = await readThroughKills(folder, 500, kills, seed);
  console.log(
    `ok: ${kills} kills in ${jobs} readings of 500 pages (seed ${seed}): every page once, files equal to an unbroken reading's`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
