/** A run's checkpoints: the published layout beside the trainer's own state, never half there. */
import nodeFs, { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { InputError, messageOf } from '../../core/errors.js';
import { asObject, indexField, type JsonObject } from '../../core/json.js';
import type { Tensor } from '../../core/tensor.js';
import { type Arenas, viewSlot } from '../../train/arena.js';
import type { Trainer } from '../../train/trainer.js';
import { readFloat32 } from '../../weights/checkpoint.js';
import { openSafetensors, safetensorsChunks } from '../../weights/safetensors.js';
import { makeDirectoryAtomic, type WriteCalls, writeFileAtomic, writeTextAtomic } from '../atomic.js';
import { copySideFiles, tokenizerFiles } from '../checkpoint-files.js';
import { fileSource, readJson } from '../files.js';
import { hashFile } from '../hash-file.js';
import { namesIn } from '../place.js';
import { isAlive, isOfThisMachine, ownerOfTemporary } from '../process-identity.js';

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
  /** What config.json says otherwise. */
  readonly configChanges?: JsonObject;
  /** Compared when a run goes on: hyperparameters, data. */
  readonly settings: unknown;
  /** What else a run needs to go on. */
  readonly notes?: () => JsonObject;
}

export interface SaveOptions {
  /** Checkpoints that are kept. Default 2. */
  readonly keep?: number;
  /** Tests inject faults here. */
  readonly fs?: WriteCalls;
}

/** Writes `dir/checkpoint-<step>` unless it is there whole; the ones before the last `keep` are removed then. */
export async function saveRun<B>(
  dir: string,
  trainer: Trainer<B>,
  state: RunState,
  { keep = 2, fs = nodeFs }: SaveOptions = {},
): Promise<string> {
  const { stepsDone } = trainer;
  const final = join(dir, `checkpoint-${stepsDone}`);
  if (damage(final) !== undefined) {
    rmSync(final, { recursive: true, force: true });
    await saveCheckpoint(final, trainer, state, fs);
  }
  const before = savedSteps(dir).filter((step) => step < stepsDone);
  const old = before.slice(0, Math.max(0, before.length - (keep - 1)));
  for (const step of old) rmSync(join(dir, `checkpoint-${step}`), { recursive: true, force: true });
  return final;
}

/** Makes the directory `path`, all at once: the published layout and the trainer's state. Throws InputError where it cannot. */
export async function saveCheckpoint<B>(
  path: string,
  trainer: Trainer<B>,
  state: RunState,
  fs: WriteCalls = nodeFs,
): Promise<void> {
  try {
    await makeDirectoryAtomic(path, async (temporary) => writeRun(temporary, trainer, state, fs), fs);
  } catch (cause) {
    throw new InputError(
      `${path}: could not be saved: ${messageOf(cause)}; free space or name another place and start the run again: it goes on from the checkpoint before`,
      { cause },
    );
  }
}

/** Fills an empty directory; the manifest comes last. */
function writeRun<B>(dir: string, { arenas, stepsDone }: Trainer<B>, state: RunState, fs: WriteCalls): void {
  const writeJson = (name: string, value: unknown) =>
    writeTextAtomic(join(dir, name), `${JSON.stringify(value, null, 2)}\n`, fs);
  copySideFiles(state.filesFrom, dir);
  const config = asObject(readJson(dir, 'config.json') ?? {}, 'config.json');
  const changed = { ...config, ...dtypeChanges(config), ...state.configChanges };
  if (JSON.stringify(changed) !== JSON.stringify(config)) writeJson('config.json', changed);
  const published = new Map(state.untouched);
  const heads: [string, Tensor][] = [];
  for (const slot of arenas.layout.slots.values()) {
    const view = viewSlot(arenas.parameters, slot);
    if (state.isPublished(slot.name)) published.set(slot.name, view);
    else heads.push([`head.${slot.name}`, view]);
  }
  const moments = momentsOf(arenas).map(({ name, moment }): [string, Tensor] => [name, moment]);
  writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks([...published], { format: 'pt' }), fs);
  writeFileAtomic(join(dir, stateFile), safetensorsChunks([...moments, ...heads]), fs);
  writeJson(progressFile, { step: stepsDone, settings: state.settings, ...state.notes?.() });
  writeJson(manifestFile, Object.fromEntries(readdirSync(dir).map((name) => [name, hashFile(join(dir, name))])));
}

/** Both moments of every parameter that has some, by name: where they lie in the arenas is not the file's business. */
function momentsOf(arenas: Arenas): { readonly name: string; readonly moment: Tensor<'float32'> }[] {
  const trained = [...arenas.layout.slots.values()].filter(({ offset }) => offset < arenas.layout.trainableSize);
  return trained.flatMap((slot) => [
    { name: `first_moment.${slot.name}`, moment: viewSlot(arenas.firstMoments, slot) },
    { name: `second_moment.${slot.name}`, moment: viewSlot(arenas.secondMoments, slot) },
  ]);
}

/** Tensors are saved as float32, whatever the start had. */
function dtypeChanges(config: JsonObject): JsonObject {
  return Object.fromEntries(['torch_dtype', 'dtype'].filter((name) => name in config).map((name) => [name, 'float32']));
}

/** Steps with a checkpoint, in order. */
function savedSteps(dir: string): number[] {
  return namesIn(dir)
    .flatMap((name) => pattern.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Why a checkpoint cannot be used; undefined for one that can. */
function damage(dir: string): string | undefined {
  try {
    const manifest = asObject(JSON.parse(readFileSync(join(dir, manifestFile), 'utf8')), manifestFile);
    const wrong = Object.entries(manifest).find(([name, hash]) => hashFile(join(dir, name)) !== hash);
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

/** Removes what saves that were killed left behind, but not what another live process is writing. */
export function removeLeftovers(dir: string): void {
  for (const name of namesIn(dir)) {
    const owner = /^checkpoint-\d+\./.test(name) ? ownerOfTemporary(name) : undefined;
    if (!owner || !isOfThisMachine(owner) || (owner.pid !== process.pid && isAlive(owner))) continue;
    rmSync(join(dir, name), { recursive: true, force: true });
  }
}

/**
 * Puts a checkpoint's parameters, moments and step into a trainer; returns trainer.json. Throws InputError where the settings or
 * the tokenizer are others, or the checkpoint is damaged.
 */
export async function resumeRun<B>(path: string, trainer: Trainer<B>, state: RunState): Promise<JsonObject> {
  const wrong = damage(path);
  if (wrong !== undefined) throw new InputError(`${path}: is damaged: ${wrong}; take the checkpoint before it`);
  const progress = asObject(readJson(path, progressFile), progressFile);
  // As the file would have them: the order of fields does not count.
  const settings: unknown = JSON.parse(JSON.stringify(state.settings));
  if (!isDeepStrictEqual(progress['settings'], settings)) {
    throw new InputError(
      `${path}: was trained with other settings${differenceOf(progress['settings'], settings)}; start a new run (another "out") from its model instead`,
    );
  }
  expectSameTokenizer(path, state.filesFrom);
  const { arenas } = trainer;
  const weights = await openSafetensors(fileSource(join(path, 'model.safetensors')));
  const rest = await openSafetensors(fileSource(join(path, stateFile)));
  try {
    for (const slot of arenas.layout.slots.values()) {
      const stored = state.isPublished(slot.name)
        ? await readFloat32(weights, slot.name)
        : await readFloat32(rest, `head.${slot.name}`);
      viewSlot(arenas.parameters, slot).data.set(stored.data);
    }
    for (const { name, moment } of momentsOf(arenas)) {
      if (!rest.names.includes(name)) {
        throw new InputError(
          `${path}: ${stateFile} has no ${name}; an older version wrote moments without names: start a new run from this checkpoint's model`,
        );
      }
      moment.data.set((await readFloat32(rest, name)).data);
    }
  } finally {
    weights.dispose();
    rest.dispose();
  }
  trainer.resumeAt(indexField(progress, 'step', progressFile));
  return progress;
}

/** Names the first setting that differs. */
function differenceOf(then: unknown, now: unknown): string {
  const [a, b] = [then, now].map((value) => (typeof value === 'object' && value !== null ? (value as JsonObject) : {}));
  const name = [...new Set([...Object.keys(a), ...Object.keys(b)])].find((key) => !isDeepStrictEqual(a[key], b[key]));
  if (name === undefined) return '';
  return ` (${name} was ${JSON.stringify(a[name])}, is ${JSON.stringify(b[name])})`;
}

/** Throws InputError where two directories' tokenizer files differ: ids would mean other texts. */
function expectSameTokenizer(path: string, start: string): void {
  const content = (dir: string, name: string) => {
    const file = join(dir, name);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  };
  const other = tokenizerFiles.find((name) => content(path, name) !== content(start, name));
  if (other === undefined) return;
  throw new InputError(
    `${path}: its ${other} is not that of ${start}, from which the run starts; restore the file, or start a new run from this checkpoint`,
  );
}
