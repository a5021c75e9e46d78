import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { JsonObject } from '../../src/core/json.js';
import { createRng } from '../../src/core/rng.js';
import { type VaryConfig, varyNano } from '../../src/models/vary.js';
import { parseRun, type Run } from '../../src/node/training/run-file.js';
import { newestRun } from '../../src/node/training/save.js';
import { type RunningTraining, startRun } from '../../src/node/training/start-run.js';

/** vary-nano with less of everything. */
export const tinyNano: VaryConfig = {
  ...varyNano,
  decoder: { ...varyNano.decoder, width: 32, embedWidth: 32, layers: 1, heads: 2, mlpWidth: 64 },
  tower: { ...varyNano.tower, width: 32, depth: 1, heads: 2, neckChannels: 16, netChannels: [16, 32] },
};

/** Starts a run as a run file in `base` would say. */
export async function startIn(base: string, json: JsonObject, resume?: string): Promise<RunningTraining> {
  return startRun(parseRun(json, { where: 'run.json', base }), { resume, threads: 2 });
}

/** The losses of so many steps. */
export async function losses(work: RunningTraining, count: number): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < count; i++) found.push((await work.step()).loss);
  return found;
}

/** The bits of a checkpoint's tensors. */
export function tensorsAt(dir: string): string {
  const hash = createHash('sha256');
  for (const name of ['model.safetensors', 'trainer.safetensors']) hash.update(readFileSync(join(dir, name)));
  return hash.digest('hex');
}

/** Writes a data file of the given items and returns its path. */
export function writeData(folder: string, name: string, items: readonly unknown[]): string {
  const file = join(folder, name);
  writeFileSync(file, `[\n${items.map((item) => JSON.stringify(item)).join(',\n')}\n]\n`);
  return file;
}

/** A run of `steps` in `dir`, which has data.json: the one that is killed again and again. */
export function killedRun(dir: string, steps: number): Run {
  return parseRun(
    {
      task: 'conversations',
      start: resolve('examples/tiny-vary'),
      out: join(dir, 'out'),
      data: [{ file: join(dir, 'data.json') }],
      steps,
      batchSize: 1,
      workers: 0,
      warmupSteps: 0,
      schedule: 'constant',
    },
    { where: 'run.json', base: dir },
  );
}

export interface Killed {
  /** Runs that were killed. */
  readonly kills: number;
  /** Of these, while a checkpoint was half written. */
  readonly half: number;
  readonly last: string;
}

/**
 * Trains to the end through `kills` kills at random moments; after each the newest checkpoint must be whole and no older than
 * the last that was said to be saved.
 */
export async function trainThroughKills(dir: string, kills: number, seed: number): Promise<Killed> {
  const rng = createRng(seed);
  const program = fileURLToPath(new URL('./killed-run.js', import.meta.url));
  let [done, half, least] = [0, 0, 0];
  mkdirSync(join(dir, 'out'));
  // More steps than can be done before the last kill.
  while (done < kills) {
    const child = spawn(process.execPath, [program, dir, '100000'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = new Promise<void>((close) => child.on('close', () => close()));
    let timer: NodeJS.Timeout | undefined;
    for await (const line of createInterface({ input: child.stdout })) {
      const { step, damaged, saved } = JSON.parse(line) as { step?: number; damaged?: string[]; saved?: number };
      if (step !== undefined) {
        assert.deepEqual(damaged, [], `after kill ${done}`);
        assert.ok(step >= least, `after kill ${done}: goes on at ${step}, ${least} was saved`);
      }
      // Steps and saves take turns from the first one on.
      if (saved !== undefined) timer ??= setTimeout(() => child.kill('SIGKILL'), 150 * rng.next());
      least = saved ?? least;
    }
    clearTimeout(timer);
    await closed;
    assert.equal(child.signalCode, 'SIGKILL');
    done++;
    if (readdirSync(join(dir, 'out')).some((name) => name.endsWith('.tmp'))) half++;
  }
  const { path, damaged } = newestRun(join(dir, 'out'));
  assert.deepEqual(damaged, []);
  assert.ok(path);
  return { kills: done, half, last: path };
}
