/** Training on rendered lines: the tower by CTC, or the whole reader. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { InputError } from '../../core/errors.js';
import { asObject, countField, indexField, type JsonObject, numberField } from '../../core/json.js';
import type { Tensor } from '../../core/tensor.js';
import type { RenderedLine } from '../../data/rendered/line.js';
import { createVaryModel } from '../../infer/model.js';
import { varyFamily } from '../../models/graphs.js';
import { renameVaryTensor, type VaryConfig, varyConfigFrom } from '../../models/vary.js';
import type { Runtime } from '../../runtime/runtime.js';
import { imageTokensOf } from '../../text/image-tokens.js';
import { editDistance } from '../../text/metrics.js';
import { readPrompt } from '../../text/prompt.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import { type Arenas, arenaLoader, viewSlot } from '../../train/arena.js';
import { ctcGreedy } from '../../train/ctc.js';
import { checkSchedule, type Schedule, type ScheduleKind } from '../../train/schedule.js';
import {
  ctcGraph,
  ctcHeadPath,
  ctcTask,
  type ReadingBatch,
  readingTask,
  type TranscribedBatch,
} from '../../train/tasks.js';
import { createTrainer, type Peers, type StepResult, type Trainer, type TrainerOptions } from '../../train/trainer.js';
import { readFloat32 } from '../../weights/checkpoint.js';
import { openWeights, readConfig, readTokenizer } from '../checkpoint-dir.js';
import { createRuntime } from '../ort/runtime.js';
import type { LineStage } from '../rendered/line-batches.js';
import { createLineSource } from '../rendered/line-source.js';
import { createTextRenderer } from '../rendered/renderer.js';
import { linePixels, readingBatch, textIds, transcribedBatch } from './line-batch.js';
import { type RunState, resumeRun, saveRun } from './save.js';

export interface LineRun {
  readonly task: 'ctc' | 'read';
  /** Checkpoint directory to start from. */
  readonly start: string;
  /** Checkpoints and metrics go here. */
  readonly out: string;
  readonly seed: number;
  readonly steps: number;
  readonly batchSize: number;
  readonly workers: number;
  readonly stages: readonly LineStage[];
  /** Of a ctc run: so many first steps learn the alignment that the renderer knows, the others the sum over all of them. */
  readonly alignedSteps: number;
  readonly optimizer: Omit<TrainerOptions, 'seed' | 'peers'>;
  readonly logEvery: number;
  readonly evaluateEvery: number;
  readonly saveEvery: number;
  /** Held-out lines read at each evaluation. */
  readonly evaluationLines: number;
}

const runFields = [
  'task',
  'start',
  'out',
  'seed',
  'steps',
  'batchSize',
  'workers',
  'stages',
  'alignedSteps',
  'learningRate',
  'schedule',
  'warmupSteps',
  'weightDecay',
  'beta2',
  'maxGradNorm',
  'logEvery',
  'evaluateEvery',
  'saveEvery',
  'evaluationLines',
];

/** A run file's contents, checked. Paths are relative to the file. Throws InputError for anything unknown or out of range. */
export function parseLineRun(
  json: JsonObject,
  { where, base }: { readonly where: string; readonly base: string },
): LineRun {
  const unknown = Object.keys(json).find((name) => !runFields.includes(name));
  if (unknown) throw new InputError(`${where}: unknown field ${unknown}; there are ${runFields.join(', ')}`);
  const text = (name: string) => {
    const value = json[name];
    if (typeof value !== 'string' || value === '')
      throw new InputError(`${where}: ${name}: expected text, got ${JSON.stringify(value)}`);
    return value;
  };
  const task = text('task');
  if (task !== 'ctc' && task !== 'read') throw new InputError(`${where}: task: expected ctc or read, got ${task}`);
  const stages = json['stages'] ?? [{ fromBatch: 0 }];
  if (!Array.isArray(stages) || stages.length === 0) throw new InputError(`${where}: stages: expected a list`);
  const steps = countField(json, 'steps', where);
  const schedule: Schedule = {
    kind: (json['schedule'] ?? 'cosine') as ScheduleKind,
    warmupSteps: indexField(json, 'warmupSteps', where, Math.min(200, steps)),
    totalSteps: steps,
  };
  checkSchedule(schedule, `${where}: schedule`);
  return {
    task,
    start: resolve(base, text('start')),
    out: resolve(base, text('out')),
    seed: indexField(json, 'seed', where, 1),
    steps,
    batchSize: countField(json, 'batchSize', where, 16),
    workers: countField(json, 'workers', where, 1),
    alignedSteps: indexField(json, 'alignedSteps', where, 0),
    stages: stages.map((stage, i) => asObject(stage, `${where}: stages[${i}]`) as unknown as LineStage),
    optimizer: {
      learningRate: numberField(json, 'learningRate', where, 1e-3),
      schedule,
      weightDecay: numberField(json, 'weightDecay', where, 0.01),
      maxGradNorm: numberField(json, 'maxGradNorm', where, 1),
      adamW: { beta1: 0.9, beta2: numberField(json, 'beta2', where, 0.98), epsilon: 1e-8 },
    },
    logEvery: countField(json, 'logEvery', where, 20),
    evaluateEvery: countField(json, 'evaluateEvery', where, 500),
    saveEvery: countField(json, 'saveEvery', where, 500),
    evaluationLines: countField(json, 'evaluationLines', where, 64),
  };
}

export interface Evaluation {
  /** Character errors by characters, over held-out lines. */
  readonly cer: number;
  readonly samples: readonly { readonly truth: string; readonly read: string }[];
}

/** A run that is under way. */
export interface RunningLines {
  readonly stepsDone: number;
  /** Milliseconds spent waiting for lines. */
  readonly waited: number;
  step(): Promise<StepResult>;
  evaluate(): Promise<Evaluation>;
  /** Returns the checkpoint's path. */
  save(): Promise<string>;
  dispose(): Promise<void>;
}

/** Seed of the lines that runs are evaluated on: fonts and words that training never has. */
const heldOutSeed = 977;

interface Reader {
  readonly config: VaryConfig;
  readonly tokenizer: Tokenizer;
  readonly runtime: Runtime;
  readonly dir: string;
}

export interface StartOptions {
  /** A checkpoint of the same run. */
  readonly resume: string | undefined;
  readonly threads?: number;
  /** The processes that train together; each takes its own batches. */
  readonly peers?: Peers | undefined;
}

/** Opens everything a run needs; `resume` is a checkpoint of the same run. */
export async function startLineRun(
  run: LineRun,
  { resume, threads = availableParallelism(), peers }: StartOptions,
): Promise<RunningLines> {
  if (!existsSync(run.start)) throw new InputError(`start: ${run.start}: there is no such checkpoint directory`);
  const where = join(run.start, 'config.json');
  const config = varyConfigFrom(readConfig(run.start), where);
  const tokenizer = readTokenizer(run.start);
  if (!tokenizer) throw new InputError(`start: ${run.start}: has no tokenizer files`);
  const reader: Reader = { config, tokenizer, runtime: createRuntime({ threads }), dir: run.start };
  return run.task === 'ctc'
    ? startKind(run, reader, ctcKind(reader, run), { resume, peers })
    : startKind(run, reader, readingKind(reader), { resume, peers });
}

/** How a task makes batches and reads held-out lines. */
interface Kind<B> {
  createTrainer(options: TrainerOptions): Promise<Trainer<B>>;
  batch(lines: readonly RenderedLine[], stepsDone: number): B;
  /** The texts of lines, by the parameters as they are now. */
  read(arenas: Arenas, lines: readonly RenderedLine[]): Promise<string[]>;
}

const columnsPerToken = 2;

function ctcKind({ config, tokenizer, runtime }: Reader, { alignedSteps }: LineRun): Kind<TranscribedBatch> {
  const options = { blank: config.decoder.padId, columnsPerToken };
  return {
    createTrainer: (trainerOptions) => createTrainer(runtime, ctcTask(config, options), trainerOptions),
    batch: (lines, stepsDone) => transcribedBatch(lines, config, { tokenizer, aligned: stepsDone < alignedSteps }),
    read: async (arenas, lines) => {
      const session = await runtime.compile(ctcGraph(config, lines.length, options), { weights: arenaLoader(arenas) });
      const { logits } = await session.run({ pixelValues: linePixels(lines, config) });
      await session.dispose();
      return ctcGreedy(logits as Tensor<'float32'>, options.blank).map((ids) => tokenizer.decode(ids));
    },
  };
}

function readingKind({ config, tokenizer, runtime, dir }: Reader): Kind<ReadingBatch> {
  const family = varyFamily(config);
  const imageTokens = imageTokensOf(tokenizer, asObject(readConfig(dir), dir));
  return {
    createTrainer: (trainerOptions) => createTrainer(runtime, readingTask(family), trainerOptions),
    batch: (lines) => readingBatch(lines, config, { tokenizer, imageTokens }),
    read: async (arenas, lines) => {
      const model = createVaryModel({
        family,
        runtime,
        weights: arenaLoader(arenas),
        precision: 'float32',
        tokenizer,
        imageTokens,
        close: () => undefined,
      });
      const prompt = readPrompt(tokenizer, imageTokens);
      const rows = await model.generateRows(
        { inputIds: lines.map(() => prompt), pixelValues: linePixels(lines, config) },
        { maxNewTokens: config.decoder.maxPositions - prompt.length },
      );
      await model.dispose();
      return rows.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
    },
  };
}

async function startKind<B>(
  run: LineRun,
  { config, tokenizer, dir }: Reader,
  kind: Kind<B>,
  { resume, peers }: Omit<StartOptions, 'threads'>,
): Promise<RunningLines> {
  const trainer = await kind.createTrainer({ ...run.optimizer, seed: run.seed, ...(peers && { peers }) });
  const isPublished = (name: string) => !name.startsWith(ctcHeadPath);
  const untouched = await loadStart(dir, trainer.arenas, isPublished);
  const {
    out: _out,
    logEvery: _log,
    evaluateEvery: _evaluate,
    saveEvery: _save,
    workers: _workers,
    evaluationLines: _lines,
    start: _start,
    ...options
  } = run;
  const { rank, size } = peers ?? { rank: 0, size: 1 };
  const settings = { ...options, processes: size };
  const state: RunState = { untouched, isPublished, filesFrom: dir, settings };
  if (resume !== undefined) await resumeRun(resume, trainer, state);
  const [height, width] = config.tower.imageSize;
  const stages = run.stages.map((stage) => ({
    ...stage,
    height,
    maxAspect: Math.min(stage.maxAspect ?? width / height, width / height),
    split: 'train' as const,
  }));
  const source = createLineSource({
    seed: run.seed,
    workers: run.workers,
    batchSize: run.batchSize,
    stages,
    start: trainer.stepsDone * size + rank,
    stride: size,
  });
  let held: readonly RenderedLine[] | undefined;
  return {
    get stepsDone() {
      return trainer.stepsDone;
    },
    get waited() {
      return source.waited;
    },
    step: async () => {
      const { lines } = await source.next();
      return trainer.step([
        kind.batch(
          lines.filter(({ text }) => fits(text, config, tokenizer)),
          trainer.stepsDone,
        ),
      ]);
    },
    evaluate: async (): Promise<Evaluation> => {
      held ??= await heldOutLines(run, stages[stages.length - 1]);
      const read = await kind.read(trainer.arenas, held);
      const errors = held.reduce((sum, { text }, i) => sum + editDistance([...text], [...read[i]]), 0);
      const characters = held.reduce((sum, { text }) => sum + [...text].length, 0);
      return {
        cer: errors / characters,
        samples: held.slice(0, 6).map(({ text }, i) => ({ truth: text, read: read[i] })),
      };
    },
    save: () => saveRun(run.out, trainer, state),
    dispose: async () => {
      await source.dispose();
      await trainer.dispose();
    },
  };
}

/** A text longer than the model's positions cannot be learnt. */
function fits(text: string, { decoder, imageTokens }: VaryConfig, tokenizer: Tokenizer): boolean {
  return textIds(tokenizer, text).length + imageTokens.count + 4 <= decoder.maxPositions;
}

async function heldOutLines(run: LineRun, stage: LineStage): Promise<readonly RenderedLine[]> {
  const renderer = await createTextRenderer();
  const { fromBatch: _, ...options } = stage;
  return Array.from({ length: run.evaluationLines }, (_, index) =>
    renderer.renderLine({ ...options, seed: heldOutSeed, index, split: 'heldOut' }),
  );
}

/** Puts a checkpoint's tensors into the arenas; returns those that are not trained. */
async function loadStart(
  dir: string,
  arenas: Arenas,
  isPublished: (name: string) => boolean,
): Promise<ReadonlyMap<string, Tensor>> {
  const checkpoint = await openWeights(dir);
  const untouched = new Map<string, Tensor>();
  try {
    const seen = new Set<string>();
    for (const name of checkpoint.names) {
      const ours = renameVaryTensor(name);
      const tensor = await readFloat32(checkpoint, name);
      const slot = arenas.layout.slots.get(ours);
      if (!slot) untouched.set(ours, tensor);
      else if (String(slot.shape) !== String(tensor.shape)) {
        throw new InputError(`${dir}: ${name}: expected [${slot.shape}], got [${tensor.shape}]`);
      } else {
        viewSlot(arenas.parameters, slot).data.set(tensor.data);
        seen.add(ours);
      }
    }
    const missing = [...arenas.layout.slots.keys()].find((name) => isPublished(name) && !seen.has(name));
    if (missing) throw new InputError(`${dir}: no tensor is called ${missing}`);
  } finally {
    checkpoint.dispose();
  }
  return untouched;
}
