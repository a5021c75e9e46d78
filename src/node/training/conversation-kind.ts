/** Runs on conversation files: the whole reader, from any vary checkpoint. */
import { InputError } from '../../core/errors.js';
import { prefetch, type TrainingBatch } from '../../data/batches.js';
import { varyFamily } from '../../models/graphs.js';
import { type ReadingBatch, readingTask } from '../../train/tasks.js';
import type { SamplePlan } from '../data/sample-options.js';
import { openTrainingData, type TrainingData, type TrainingDataOptions } from '../data/training-data.js';
import { hashFile } from '../hash-file.js';
import { openHeldOut } from './held-out.js';
import type { Kind, Part, Place, Start } from './kind.js';
import { readingBatchOf } from './reading-batch.js';
import type { ConversationRun } from './run-file.js';
import { styleChanges } from './template.js';
import { varyKind } from './vary-start.js';

/** Opens the data at once: what is wrong with it is known before the first step. */
export async function conversationKind(
  run: ConversationRun,
  start: Start,
  { rank, size }: Place,
): Promise<Kind<ReadingBatch>> {
  const plan: Omit<SamplePlan, 'seed'> = {
    checkpoint: start.dir,
    labelMask: run.template === 'plain' ? 'reference' : 'answers',
    turnSignal: run.turnSignal,
    roles: run.roles,
    augment: run.augment,
    ...(run.maxLength !== undefined && { maxLength: run.maxLength }),
    ...(run.imageAspectRatio && { imageMode: run.imageAspectRatio }),
  };
  const options: TrainingDataOptions = {
    ...plan,
    sets: run.data,
    batchSize: run.batchSize,
    seed: run.seed,
    shuffle: run.shuffle,
    maxBad: run.maxBad,
    workers: run.workers,
    rank,
    ranks: size,
  };
  const held = run.evaluation && (await openHeldOut(run.evaluation, plan, start, run.template));
  const data = await openTrainingData(options);
  const perStep = run.batchSize * size * run.accumulate;
  const steps = run.steps ?? Math.max(1, Math.ceil(((run.epochs ?? 1) * data.samplesPerEpoch) / perStep));
  const vary = varyKind(run, start);
  return {
    ...vary,
    task: readingTask(varyFamily(start.config)),
    steps,
    isPublished: () => true,
    settings: {
      ...vary.settings,
      data: run.data.map(({ file, weight = 1 }) => ({ sha256: hashFile(file), weight })),
      shuffle: run.shuffle,
      augment: run.augment,
      template: run.template,
      turnSignal: run.turnSignal,
      ...(run.maxLength !== undefined && { maxLength: run.maxLength }),
      ...(Object.keys(run.roles).length > 0 && { roles: run.roles }),
    },
    configChanges: styleChanges(run),
    summary: [
      `${data.samples} samples in ${run.data.length} file(s), ${data.samplesPerEpoch} per epoch`,
      `${((steps * perStep) / data.samplesPerEpoch).toFixed(2)} epochs, ${perStep} samples a step`,
      held ? `${held.count} held-out samples` : 'no held-out data',
    ],
    open: async (first) => openParts(data, first, start),
    ...(held && { evaluate: held.evaluate }),
    dispose: () => data.dispose(),
  };
}

function openParts(data: TrainingData, first: number, start: Start) {
  const batches = prefetch(data, { start: first });
  let waited = 0;
  return {
    get waited() {
      return waited;
    },
    next: async (): Promise<Part<ReadingBatch>> => {
      const began = performance.now();
      const { value }: { value?: TrainingBatch } = await batches.next();
      waited += performance.now() - began;
      if (!value) throw new InputError('data: there are no more batches');
      return {
        batch: value.inputIds.length > 0 ? readingBatchOf(value, start.config.decoder) : undefined,
        names: value.names,
        bad: value.bad.map(({ problem }) => problem),
      };
    },
    dispose: async () => {
      await batches.return(undefined);
    },
  };
}
