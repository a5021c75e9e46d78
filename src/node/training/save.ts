/** A run's checkpoints: the published layout beside the trainer's own state, never half there. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { asObject, indexField } from '../../core/json.js';
import type { Tensor } from '../../core/tensor.js';
import { viewSlot } from '../../train/arena.js';
import type { Trainer } from '../../train/trainer.js';
import { readFloat32 } from '../../weights/checkpoint.js';
import { openSafetensors, safetensorsChunks } from '../../weights/safetensors.js';
import { memorySource } from '../../weights/source.js';
import { makeDirectoryAtomic, writeFileAtomic } from '../atomic.js';
import { copySideFiles } from '../checkpoint-files.js';

const stateFile = 'trainer.safetensors';
const progressFile = 'trainer.json';
const manifestFile = 'manifest.json';
const pattern = /^checkpoint-(\d+)$/;

/** What goes into a checkpoint beside the arenas. */
export interface RunState {
  /** Tensors that are not trained, or heads that are: by their published names. */
  readonly untouched: ReadonlyMap<string, Tensor>;
  /** Whether a parameter belongs to the published checkpoint. */
  isPublished(name: string): boolean;
  /** Config and tokenizer files are copied from here. */
  readonly filesFrom: string;
  /** Compared when a run goes on: hyperparameters, data. */
  readonly settings: unknown;
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Writes `dir/checkpoint-<step>` unless it is there whole; the ones before the last `keep` are removed then. */
export async function saveRun<B>(dir: string, trainer: Trainer<B>, state: RunState, keep = 2): Promise<string> {
  const { stepsDone } = trainer;
  const final = join(dir, `checkpoint-${stepsDone}`);
  if (damage(final) !== undefined) {
    try {
      rmSync(final, { recursive: true, force: true });
      await makeDirectoryAtomic(final, async (temporary) => writeRun(temporary, trainer, state));
    } catch (cause) {
      throw new InputError(`${final}: could not be saved: ${messageOf(cause)}; the checkpoints before it are kept`, {
        cause,
      });
    }
  }
  const old = savedSteps(dir)
    .filter((step) => step < stepsDone)
    .slice(0, -(keep - 1) || undefined);
  for (const step of old) rmSync(join(dir, `checkpoint-${step}`), { recursive: true, force: true });
  return final;
}

/** Fills an empty directory; the manifest comes last. */
function writeRun<B>(dir: string, { arenas, stepsDone }: Trainer<B>, state: RunState): void {
  copySideFiles(state.filesFrom, dir);
  const published = new Map(state.untouched);
  const heads: [string, Tensor][] = [];
  for (const slot of arenas.layout.slots.values()) {
    const view = viewSlot(arenas.parameters, slot);
    if (state.isPublished(slot.name)) published.set(slot.name, view);
    else heads.push([`head.${slot.name}`, view]);
  }
  const flat = (data: Float32Array): Tensor => ({ dtype: 'float32', shape: [data.length], data });
  const moments: [string, Tensor][] = [
    ['first_moments', flat(arenas.firstMoments)],
    ['second_moments', flat(arenas.secondMoments)],
  ];
  const writeJson = (name: string, value: unknown) =>
    writeFileAtomic(join(dir, name), [Buffer.from(`${JSON.stringify(value, null, 2)}\n`)]);
  writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks([...published], { format: 'pt' }));
  writeFileAtomic(join(dir, stateFile), safetensorsChunks([...moments, ...heads]));
  writeJson(progressFile, { step: stepsDone, settings: state.settings });
  writeJson(
    manifestFile,
    Object.fromEntries(readdirSync(dir).map((name) => [name, sha256(readFileSync(join(dir, name)))])),
  );
}

/** Steps with a checkpoint, in order. */
function savedSteps(dir: string): number[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .flatMap((name) => pattern.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Why a checkpoint cannot be used; undefined for one that can. */
function damage(dir: string): string | undefined {
  try {
    const manifest = asObject(JSON.parse(readFileSync(join(dir, manifestFile), 'utf8')), manifestFile);
    const wrong = Object.entries(manifest).find(([name, hash]) => sha256(readFileSync(join(dir, name))) !== hash);
    return wrong && `${wrong[0]} does not fit its checksum`;
  } catch (error) {
    return messageOf(error);
  }
}

/** The newest whole checkpoint of a run, and what was passed over. */
export function newestRun(dir: string): { readonly path: string | undefined; readonly damaged: readonly string[] } {
  const damaged: string[] = [];
  for (const step of savedSteps(dir).reverse()) {
    const path = join(dir, `checkpoint-${step}`);
    const reason = damage(path);
    if (reason === undefined) return { path, damaged };
    damaged.push(`${path}: ${reason}`);
  }
  return { path: undefined, damaged };
}

/** Puts a checkpoint's parameters, moments and step into a trainer. Throws InputError where the settings are others. */
export async function resumeRun<B>(path: string, trainer: Trainer<B>, state: RunState): Promise<void> {
  const progress = asObject(JSON.parse(readFileSync(join(path, progressFile), 'utf8')), progressFile);
  if (JSON.stringify(progress['settings']) !== JSON.stringify(state.settings)) {
    throw new InputError(
      `${path}: was trained with other settings; start a new run (another "out") from its model instead`,
    );
  }
  const { arenas } = trainer;
  const [model, own] = ['model.safetensors', stateFile].map((name) => join(path, name));
  const weights = await openSafetensors(memorySource(model, readFileSync(model)));
  const rest = await openSafetensors(memorySource(own, readFileSync(own)));
  for (const slot of arenas.layout.slots.values()) {
    const stored = state.isPublished(slot.name)
      ? await readFloat32(weights, slot.name)
      : await readFloat32(rest, `head.${slot.name}`);
    viewSlot(arenas.parameters, slot).data.set(stored.data);
  }
  arenas.firstMoments.set((await readFloat32(rest, 'first_moments')).data);
  arenas.secondMoments.set((await readFloat32(rest, 'second_moments')).data);
  trainer.resumeAt(indexField(progress, 'step', progressFile));
}
