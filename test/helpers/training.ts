import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.js';
import { type VaryConfig, varyNano } from '../../src/models/vary.js';
import { parseRun } from '../../src/node/training/run-file.js';
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
