import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createRng, type Rng } from '../../src/core/rng.js';
import { filesIn, pagesRead, picturePdf, strip, write } from './bulk.js';

const program = fileURLToPath(new URL('./killed-read.js', import.meta.url));

/** Documents of one to `most` pages, `pages` in all. */
export async function documentFolder(folder: string, pages: number, most: number): Promise<void> {
  for (let done = 0, n = 0; done < pages; n++) {
    const count = Math.min(pages - done, 1 + (n % most));
    const pictures = await Promise.all(Array.from({ length: count }, (_, i) => strip(7 * n + i)));
    if (count === 1) write(join(folder, `${n}.png`), pictures[0]);
    else write(join(folder, `some/${n}.pdf`), await picturePdf(pictures));
    done += count;
  }
}

/** Runs the program; kills it some milliseconds after `pages` pages of this run, or lets it end. Returns whether it ended by itself. */
async function runOnce(
  input: string,
  out: string,
  kill?: { readonly pages: number; readonly rng: Rng },
): Promise<boolean> {
  const child = spawn(process.execPath, [program, input, out], { stdio: ['ignore', 'pipe', 'inherit'] });
  let done = false;
  let killed = false;
  const expectKill = (pages: number) => {
    if (!kill || killed || pages < kill.pages) return;
    killed = true;
    // A process takes about a second until its first page.
    void setTimeout(kill.rng.integer(0, kill.pages === 0 ? 1500 : 40)).then(() => child.kill('SIGKILL'));
  };
  // Nothing to wait for: it dies while it starts.
  expectKill(0);
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = chunk.toString().trim().split('\n');
    done ||= lines.some((line) => line.includes('"done"'));
    expectKill(Math.max(0, ...lines.map(Number).filter(Number.isInteger)));
  });
  await new Promise((resolve) => child.on('close', resolve));
  return done;
}

/** Where kills are meant to hit: one in five while it starts again, one in ten when the last page is read, the others anywhere. */
function killPoint(pages: number, read: number, rng: Rng): number {
  const left = pages - read;
  const chance = rng.integer(0, 10);
  if (chance < 2) return 0;
  return chance === 2 ? left : Math.min(left, rng.integer(0, Math.max(1, Math.ceil(pages / 12))));
}

/**
 * Kills a reading `kills` times, from its first page to its last files, then lets it end; where it ends before, another one begins. Every page must be in the journal once, the files equal to
 * those of a reading that was never killed, and nothing else be there.
 */
export async function readThroughKills(folder: string, pages: number, kills: number, seed: number): Promise<number> {
  const input = join(folder, 'in');
  await documentFolder(input, pages, 4);
  const rng = createRng(seed);
  let [killed, job] = [0, 0];
  const unbroken = join(folder, 'unbroken');
  assert.ok(await runOnce(input, unbroken));
  const expected = filesIn(unbroken);
  while (killed < kills) {
    const out = join(folder, `killed-${job++}`);
    let ended = false;
    while (!ended) {
      const read = existsSync(join(out, '.varyclip')) ? pagesRead(out).size : 0;
      ended = await runOnce(input, out, killed < kills ? { pages: killPoint(pages, read, rng), rng } : undefined);
      if (!ended) killed++;
    }
    assert.deepEqual(filesIn(out), expected);
    const counts = pagesRead(out);
    assert.equal(counts.size, pages);
    assert.deepEqual(
      [...counts].filter(([, count]) => count !== 1),
      [],
    );
  }
  return job;
}
