/** Training two towers on pairs of pictures and texts. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { InputError } from '../../core/errors.js';
import { asObject, countField, indexField, type JsonObject, numberField } from '../../core/json.js';
import type { Tensor } from '../../core/tensor.js';
import type { PictureAugmentation } from '../../image/picture.js';
import { createClipModel } from '../../infer/clip-model.js';
import type { RetrievalFigures } from '../../infer/retrieval.js';
import { type Arenas, arenaLoader, type GroupOptions, viewSlot } from '../../train/arena.js';
import { type ContrastiveBatch, type ContrastiveOptions, contrastiveTask } from '../../train/contrastive.js';
import type { Peers } from '../../train/peers.js';
import { checkSchedule, type Schedule, type ScheduleKind } from '../../train/schedule.js';
import { createTrainer, type StepResult, type TrainerOptions } from '../../train/trainer.js';
import { readFloat32 } from '../../weights/checkpoint.js';
import { openPairData, type PairSet } from '../data/pair-data.js';
import { type ClipSource, openClip } from '../load-clip.js';
import { createRuntime } from '../ort/runtime.js';
import { type Examination, examine } from './picture-evaluation.js';
import { type RunState, resumeRun, saveRun } from './save.js';

export interface ContrastiveRun {
  readonly task: 'contrastive';
  /** Checkpoint directory to start from, of CLIP or SigLIP. */
  readonly start: string;
  /** Checkpoints and metrics go here. */
  readonly out: string;
  readonly seed: number;
  readonly steps: number;
  /** Rows of each process in a step. */
  readonly batchSize: number;
  /** Pictures drawn of each row. */
  readonly views: number;
  readonly data: readonly PairSet[];
  readonly augment: PictureAugmentation;
  readonly loss: ContrastiveOptions;
  readonly optimizer: Omit<TrainerOptions, 'seed' | 'peers'>;
  readonly evaluation: Readonly<Record<string, Examination>>;
  readonly logEvery: number;
  readonly evaluateEvery: number;
  readonly saveEvery: number;
}

const runFields = [
  'task',
  'start',
  'out',
  'seed',
  'steps',
  'batchSize',
  'chunkSize',
  'views',
  'data',
  'augment',
  'imageWeight',
  'groups',
  'learningRate',
  'schedule',
  'warmupSteps',
  'weightDecay',
  'beta2',
  'maxGradNorm',
  'evaluation',
  'logEvery',
  'evaluateEvery',
  'saveEvery',
];

const augmentFields = ['scale', 'shift', 'rotate', 'flip', 'grayscale', 'colour', 'ground', 'erase'];

/** Biases, gains and the like are not decayed. */
const undecayed = '(bias|layer_?norm[^.]*\\.weight|layrnorm\\.weight|logit_scale|class_embedding)$';

/** A run file's contents, checked. Paths are relative to the file. Throws InputError for anything unknown or out of range. */
export function parseContrastiveRun(
  json: JsonObject,
  { where, base }: { readonly where: string; readonly base: string },
): ContrastiveRun {
  const known = (object: JsonObject, names: readonly string[], at: string) => {
    const unknown = Object.keys(object).find((name) => !names.includes(name));
    if (unknown) throw new InputError(`${at}: unknown field ${unknown}; there are ${names.join(', ')}`);
    return object;
  };
  known(json, runFields, where);
  const path = (object: JsonObject, name: string, at = where) => {
    const value = object[name];
    if (typeof value !== 'string' || value === '')
      throw new InputError(`${at}: ${name}: expected a path, got ${JSON.stringify(value)}`);
    return resolve(base, value);
  };
  const setFrom = (value: unknown, at: string): PairSet => {
    const set = asObject(value, at);
    return {
      ...(set as unknown as PairSet),
      file: path(set, 'file', at),
      ...(set['images'] !== undefined && { images: path(set, 'images', at) }),
    };
  };
  const data = json['data'];
  if (!Array.isArray(data) || data.length === 0) {
    throw new InputError(`${where}: data: expected a list of files of pairs: [{ "file": "train.jsonl" }]`);
  }
  const augment = known(asObject(json['augment'] ?? {}, `${where}: augment`), augmentFields, `${where}: augment`);
  const steps = countField(json, 'steps', where);
  const schedule: Schedule = {
    kind: (json['schedule'] ?? 'cosine') as ScheduleKind,
    warmupSteps: indexField(json, 'warmupSteps', where, Math.min(200, steps)),
    totalSteps: steps,
  };
  checkSchedule(schedule, `${where}: schedule`);
  const evaluation = asObject(json['evaluation'] ?? {}, `${where}: evaluation`);
  return {
    task: 'contrastive',
    start: path(json, 'start'),
    out: path(json, 'out'),
    seed: indexField(json, 'seed', where, 1),
    steps,
    batchSize: countField(json, 'batchSize', where, 128),
    views: countField(json, 'views', where, 1),
    data: data.map((set, i) => setFrom(set, `${where}: data[${i}]`)),
    augment: augment as PictureAugmentation,
    loss: {
      imageWeight: numberField(json, 'imageWeight', where, 0),
      ...(json['chunkSize'] !== undefined && { chunkSize: countField(json, 'chunkSize', where) }),
    },
    optimizer: {
      learningRate: numberField(json, 'learningRate', where, 1e-3),
      schedule,
      weightDecay: numberField(json, 'weightDecay', where, 0.1),
      maxGradNorm: numberField(json, 'maxGradNorm', where, 1),
      adamW: { beta1: 0.9, beta2: numberField(json, 'beta2', where, 0.98), epsilon: 1e-8 },
      groups: [...groupsFrom(json['groups'], where), { match: new RegExp(undecayed), weightDecay: 0 }],
    },
    evaluation: Object.fromEntries(
      Object.entries(evaluation).map(([name, value]) => {
        const at = `${where}: evaluation.${name}`;
        const labels = asObject(value, at)['labelsFrom'];
        return [
          name,
          { ...setFrom(value, at), ...(typeof labels === 'string' && { labelsFrom: resolve(base, labels) }) },
        ];
      }),
    ),
    logEvery: countField(json, 'logEvery', where, 20),
    evaluateEvery: countField(json, 'evaluateEvery', where, 500),
    saveEvery: countField(json, 'saveEvery', where, 500),
  };
}

/** `[{ "match": "^vision_model\\.", "frozen": true }]` tunes the text tower to a locked image tower (LiT, arXiv 2111.07991). */
function groupsFrom(value: unknown, where: string): GroupOptions[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new InputError(`${where}: groups: expected a list`);
  return value.map((group, i) => {
    const at = `${where}: groups[${i}]`;
    const { match, ...rest } = asObject(group, at);
    if (typeof match !== 'string')
      throw new InputError(`${at}: match: expected a regular expression of parameter names`);
    return { ...(rest as Omit<GroupOptions, 'match'>), match: new RegExp(match) };
  });
}

/** A run that is under way. */
export interface RunningContrastive {
  readonly stepsDone: number;
  /** Milliseconds spent waiting for batches. */
  readonly waited: number;
  /** The logarithm of the factor of similarities. */
  readonly logitScale: number;
  step(): Promise<StepResult>;
  /** Figures of every file under `evaluation`. */
  evaluate(): Promise<Readonly<Record<string, RetrievalFigures>>>;
  /** Returns the checkpoint's path. */
  save(): Promise<string>;
  dispose(): Promise<void>;
}

export interface StartContrastiveOptions {
  /** A checkpoint of the same run. */
  readonly resume?: string | undefined;
  readonly threads?: number;
  /** The processes that train together; each takes its own rows of every batch. */
  readonly peers?: Peers | undefined;
}

/** Opens everything a run needs. */
export async function startContrastiveRun(
  run: ContrastiveRun,
  { resume, threads = availableParallelism(), peers }: StartContrastiveOptions = {},
): Promise<RunningContrastive> {
  if (!existsSync(run.start)) throw new InputError(`start: ${run.start}: there is no such checkpoint directory`);
  const source = await openClip(run.start);
  const { config, processor, tokenizer } = source;
  if (!tokenizer) throw new InputError(`start: ${run.start}: has no tokenizer files`);
  const runtime = createRuntime({ threads });
  const task = contrastiveTask(config, runtime, run.loss);
  const trainer = await createTrainer<ContrastiveBatch>(runtime, task, {
    ...run.optimizer,
    seed: run.seed,
    ...(peers && { peers }),
  });
  await loadStart(source, trainer.arenas);
  const { rank, size } = peers ?? { rank: 0, size: 1 };
  const state: RunState = {
    untouched: new Map(),
    isPublished: () => true,
    filesFrom: run.start,
    settings: settingsOf(run, size),
  };
  if (resume !== undefined) await resumeRun(resume, trainer, state);
  const { seed, batchSize, views, augment } = run;
  const data = openPairData(
    { sets: run.data, batchSize, views, augment, seed, rank, ranks: size },
    { config, processor, tokenizer },
  );
  // The next batch is drawn while a step runs.
  let next: Promise<ContrastiveBatch> | undefined;
  let waited = 0;
  return {
    get stepsDone() {
      return trainer.stepsDone;
    },
    get waited() {
      return waited;
    },
    get logitScale() {
      const slot = trainer.arenas.layout.slots.get('logit_scale');
      return slot ? viewSlot(trainer.arenas.parameters, slot).data[0] : Number.NaN;
    },
    step: async () => {
      const asked = performance.now();
      const batch = await (next ?? data.batch(trainer.stepsDone));
      waited += performance.now() - asked;
      const step = trainer.step([batch]);
      next = data.batch(trainer.stepsDone + 1);
      next.catch(() => undefined);
      return step;
    },
    evaluate: async () => {
      const weights = arenaLoader(trainer.arenas);
      const model = createClipModel({
        config,
        processor,
        tokenizer,
        runtime,
        weights,
        precision: 'float32',
        close: () => undefined,
      });
      try {
        const reports: Record<string, RetrievalFigures> = {};
        for (const [name, examination] of Object.entries(run.evaluation))
          reports[name] = await examine(model, examination);
        return reports;
      } finally {
        await model.dispose();
      }
    },
    save: () => saveRun(run.out, trainer, state),
    dispose: () => trainer.dispose(),
  };
}

/** What two runs must have in common for one to go on where the other stopped. */
function settingsOf(run: ContrastiveRun, processes: number): unknown {
  const {
    out: _out,
    start: _start,
    logEvery: _log,
    evaluateEvery: _every,
    saveEvery: _save,
    evaluation: _files,
    ...rest
  } = run;
  const groups = run.optimizer.groups?.map((group) => ({ ...group, match: group.match.source }));
  return { ...rest, optimizer: { ...run.optimizer, groups }, processes };
}

/** Puts a checkpoint's tensors into the arenas. Throws InputError where one is missing or has another shape. */
async function loadStart({ checkpoint }: ClipSource, arenas: Arenas): Promise<void> {
  try {
    for (const slot of arenas.layout.slots.values()) {
      if (!checkpoint.names.includes(slot.name)) {
        throw new InputError(`${checkpoint.name}: no tensor is called ${slot.name}`);
      }
      const tensor: Tensor<'float32'> = await readFloat32(checkpoint, slot.name);
      if (String(slot.shape) !== String(tensor.shape)) {
        throw new InputError(`${checkpoint.name}: ${slot.name}: expected [${slot.shape}], got [${tensor.shape}]`);
      }
      viewSlot(arenas.parameters, slot).data.set(tensor.data);
    }
  } finally {
    checkpoint.dispose();
  }
}
