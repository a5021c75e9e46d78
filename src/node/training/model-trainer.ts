/** The trainer for programs: a loaded model, batches, and what `varyclip train` does with them. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../../core/errors.js';
import { asObject, type JsonObject } from '../../core/json.js';
import type { BatchSource, TrainingBatch } from '../../data/batches.js';
import { createOptModel, createVaryModel, type ModelParts, type OptModel, type VaryModel } from '../../infer/model.js';
import { varyFamily } from '../../models/graphs.js';
import { withoutDraft } from '../../models/vary.js';
import { imageTokensOf } from '../../text/image-tokens.js';
import { type PromptStyle, promptStyleFrom } from '../../text/prompt-style.js';
import { arenaLoader } from '../../train/arena.js';
import { type ReadingBatch, readingTask } from '../../train/tasks.js';
import { createTrainer, NotFiniteError, type StepResult, type TrainerOptions } from '../../train/trainer.js';
import { readConfig } from '../checkpoint-dir.js';
import { familyOf, type Model } from '../load-model.js';
import { createRuntime } from '../ort/runtime.js';
import { readingBatchOf } from './reading-batch.js';
import { type RunState, resumeRun, saveCheckpoint } from './save.js';
import { decoderStart, loadStart } from './start-weights.js';
import { expectTemplate, styleChanges } from './template.js';

export interface ModelTrainerOptions extends Partial<Omit<TrainerOptions, 'learningRate' | 'given'>> {
  readonly learningRate: number;
  /** Default: all cores. */
  readonly threads?: number;
  /** How the batches ask a vary model, recorded with what is saved. Default: as `openTrainingData` makes them. */
  readonly promptStyle?: PromptStyle;
}

/** Batches by index, as `openTrainingData` gives them. */
export type TrainingDataset = Pick<BatchSource, 'batch' | 'stepsPerEpoch'>;

export interface TrainRunOptions {
  /** Steps done when it ends, those before `resume` among them; or times the data is gone through. One of the two. */
  readonly steps?: number;
  readonly epochs?: number;
  readonly onStep?: (result: StepResult, batch: TrainingBatch) => void;
  /** Called every `evaluateEvery` steps, and at the end; returning false ends the run. */
  readonly evaluate?: (step: number) => Promise<boolean | undefined> | boolean | undefined;
  /** Default 500. */
  readonly evaluateEvery?: number;
  /** Ends the run after the step under way. */
  readonly signal?: AbortSignal;
}

export interface ModelTrainer {
  readonly stepsDone: number;
  /** One update from a batch, or from several whose gradients are added. Throws NotFiniteError where the loss is no number. */
  step(batch: ReadingBatch | readonly ReadingBatch[]): Promise<StepResult>;
  /** Trains on batch `stepsDone` and those after it; a batch without a whole sample is passed over. */
  run(dataset: TrainingDataset, options: TrainRunOptions): Promise<void>;
  /** A model of the parameters as they are now; dispose of it. */
  model(): VaryModel | OptModel;
  /** Makes a directory with the published layout and the trainer's own state. */
  save(dir: string): Promise<void>;
  /** Goes on from what `save` made; the same options must have been given. */
  resume(dir: string): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * A trainer of a loaded model's checkpoint: all its parameters, unless `groups` freeze some. The model itself stays as it is; it
 * may be disposed. Throws InputError for a model that is not trained by next tokens.
 */
export async function createModelTrainer(model: Model, options: ModelTrainerOptions): Promise<ModelTrainer> {
  if (model.kind !== 'vary' && model.kind !== 'opt') {
    throw new InputError(`training: expected a vary or opt model, got one of kind ${model.kind}`);
  }
  const { threads = availableParallelism(), promptStyle = conversationStyle, ...rest } = options;
  const dir = model.directory;
  const { family, rename } = familyOf(dir);
  const json = asObject(readConfig(dir), join(dir, 'config.json'));
  const style = family.kind === 'vary' ? promptStyle : undefined;
  if (style) expectTemplate(style, promptStyleFrom(json, join(dir, 'config.json')), dir);
  const trainerOptions: TrainerOptions = {
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: Number.MAX_SAFE_INTEGER },
    ...rest,
  };
  const runtime = createRuntime({ threads });
  const isPublished = () => true;
  const trainer = await createTrainer(runtime, readingTask(family), { ...trainerOptions, given: isPublished });
  const untouched = await loadStart(decoderStart(dir, rename, family.decoder), trainer.arenas, isPublished);
  const state: RunState = {
    untouched,
    isPublished,
    filesFrom: dir,
    configChanges: style ? styleChanges(style) : {},
    settings: settingsOf(trainerOptions),
  };
  const tokenizer = model.tokenizer;
  const imageTokens = family.kind === 'vary' && tokenizer ? imageTokensOf(tokenizer, json) : undefined;
  const parts = (): ModelParts => ({
    family: family.kind === 'vary' ? varyFamily(withoutDraft(family.vary)) : family,
    runtime,
    weights: arenaLoader(trainer.arenas),
    precision: 'float32',
    close: () => undefined,
    ...(tokenizer && { tokenizer }),
    ...(imageTokens && { imageTokens }),
    ...(style && { promptStyle: style }),
  });
  const step: ModelTrainer['step'] = (batch) => trainer.step('inputIds' in batch ? [batch] : batch);
  return {
    get stepsDone() {
      return trainer.stepsDone;
    },
    step,
    run: (dataset, runOptions) =>
      runOn(dataset, runOptions, {
        stepsDone: () => trainer.stepsDone,
        skip: () => trainer.skip(),
        step: (batch) => step(readingBatchOf(batch, family.decoder)),
      }),
    model: () => (family.kind === 'vary' ? createVaryModel(parts()) : createOptModel(parts())),
    save: (path) => saveCheckpoint(path, trainer, state),
    resume: async (path) => {
      await resumeRun(path, trainer, state);
    },
    dispose: () => trainer.dispose(),
  };
}

const conversationStyle: PromptStyle = { template: 'conversation', turnSignal: '' };

/** What a checkpoint must have been trained with to go on: what changes no result is left out. */
function settingsOf({ peers, groups = [], maxCompiled: _, ...options }: TrainerOptions): JsonObject {
  return {
    ...options,
    groups: groups.map(({ match, ...group }) => ({ match: match.source, ...group })),
    processes: peers?.size ?? 1,
  };
}

async function runOn(
  dataset: TrainingDataset,
  { steps, epochs, onStep, evaluate, evaluateEvery = 500, signal }: TrainRunOptions,
  trainer: { stepsDone(): number; skip(): void; step(batch: TrainingBatch): Promise<StepResult> },
): Promise<void> {
  if ((steps === undefined) === (epochs === undefined)) {
    throw new InputError('training: run: expected steps or epochs, and not both');
  }
  const last = steps ?? Math.ceil((epochs ?? 0) * dataset.stepsPerEpoch);
  while (trainer.stepsDone() < last && !signal?.aborted) {
    const batch = await dataset.batch(trainer.stepsDone());
    if (batch.inputIds.length === 0) trainer.skip();
    else {
      const result = await stepNaming(batch, trainer.step);
      onStep?.(result, batch);
    }
    const done = trainer.stepsDone();
    if (evaluate && (done % evaluateEvery === 0 || done === last) && (await evaluate(done)) === false) return;
  }
}

async function stepNaming(
  batch: TrainingBatch,
  step: (batch: TrainingBatch) => Promise<StepResult>,
): Promise<StepResult> {
  try {
    return await step(batch);
  } catch (cause) {
    if (!(cause instanceof NotFiniteError)) throw cause;
    throw new NotFiniteError(`${cause.message}; the batch: ${batch.names.join(', ')}`, { cause });
  }
}
