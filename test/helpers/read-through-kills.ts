import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
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

/** Runs the program; kills it some milliseconds after a page that chance picks, or lets it end. Returns whether it ended by itself. */
async function runOnce(input: string, out: string, rng: Rng | undefined): Promise<boolean> {
  const child = spawn(process.execPath, [program, input, out], { stdio: ['ignore', 'pipe', 'inherit'] });
  let done = false;
  let left = rng ? rng.integer(0, 4) : Number.POSITIVE_INFINITY;
  const kill = () => void setTimeout(rng?.integer(0, 40)).then(() => child.kill('SIGKILL'));
  // One in four dies while it starts.
  if (left === 0) kill();
  child.stdout.on('data', (chunk: Buffer) => {
    done ||= chunk.toString().includes('"done"');
    left -= 1;
    if (left === 0) kill();
  });
  await new Promise((resolve) => child.on('close', resolve));
  return done;
}

/**
 * Kills a reading `kills` times at random moments, then lets it end. Every page must be in the journal once, the files equal to
 * those of a reading that was never killed, and nothing else be there.
 */
export async function readThroughKills(folder: string, pages: number, kills: number, seed: number): Promise<number> {
  const input = join(folder, 'in');
  await documentFolder(input, pages, 4);
  const rng = createRng(seed);
  let [killed, job] = [0, 0];
  const unbroken = join(folder, 'unbroken');
  assert.ok(await runOnce(input, unbroken, undefined));
  const expected = filesIn(unbroken);
  while (killed < kills) {
    const out = join(folder, `killed-${job++}`);
    let ended = false;
    while (!ended) {
      ended = await runOnce(input, out, killed < kills ? rng : undefined);
      if (!ended) killed++;
      else if (killed < kills) continue;
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
