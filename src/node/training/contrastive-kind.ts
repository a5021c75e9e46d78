/** Runs on pairs of pictures and texts: two towers, from any CLIP or SigLIP checkpoint. */
import { InputError } from '../../core/errors.js';
import type { JsonObject } from '../../core/json.js';
import { createClipModel } from '../../infer/clip-model.js';
import type { Runtime } from '../../runtime/runtime.js';
import { type Arenas, arenaLoader, type GroupOptions, viewSlot } from '../../train/arena.js';
import { type ContrastiveBatch, contrastiveTask } from '../../train/contrastive.js';
import { isShard, openPairData, type PairData, type PairEncoder } from '../data/pair-data.js';
import { fileExists } from '../files.js';
import { hashFile } from '../hash-file.js';
import { nameClipWeights, openClip } from '../load-clip.js';
import type { Evaluation, Kind, PartSource, Place } from './kind.js';
import { examine } from './picture-evaluation.js';
import type { ContrastiveRun } from './run-file.js';

/** Biases, gains and the like are not decayed. */
const undecayed: GroupOptions = {
  match: /(bias|layer_?norm[^.]*\.weight|layrnorm\.weight|logit_scale|class_embedding)$/,
  weightDecay: 0,
};

/** Opens the checkpoint and the data at once: what is wrong with them is known before the first step. */
export async function contrastiveKind(
  run: ContrastiveRun,
  runtime: Runtime,
  { rank, size }: Place,
): Promise<Kind<ContrastiveBatch>> {
  const encoder = await openEncoder(run.start);
  const { seed, batchSize, views, augment, buffer, imageWeight, chunkSize, accumulate } = run;
  const data = openPairData({ sets: run.data, batchSize, views, augment, buffer, seed, rank, ranks: size }, encoder);
  const names = Object.keys(run.evaluation);
  return {
    task: contrastiveTask(encoder.config, runtime, { imageWeight, ...(chunkSize !== undefined && { chunkSize }) }),
    start: {
      dir: run.start,
      open: async () => (await openClip(run.start)).checkpoint,
      name: nameClipWeights,
    },
    steps: run.steps,
    unit: 'pictures',
    trainerOptions: { groups: [undecayed] },
    isPublished: () => true,
    settings: {
      data: run.data.map(identityOf),
      views,
      ...(data.rows === undefined && { buffer }),
      augment: { ...augment },
      imageWeight,
      ...(chunkSize !== undefined && { chunkSize }),
    },
    configChanges: {},
    summary: [
      data.rows === undefined ? 'shards of pairs' : `${data.rows} rows in ${run.data.length} file(s)`,
      `each row is compared with all of ${batchSize * size * accumulate}, ${views} picture(s) of each`,
      names.length > 0 ? `examined on ${names.join(', ')}` : 'no held-out data',
    ],
    open: async (first) => openParts(data, first),
    gauges: ({ layout, parameters }) => {
      const slot = layout.slots.get('logit_scale');
      return slot ? { factor: Math.exp(viewSlot(parameters, slot).data[0]) } : {};
    },
    ...(names.length > 0 && { evaluate: (arenas: Arenas) => evaluate(run, arenas, runtime, encoder) }),
    dispose: async () => undefined,
  };
}

/** What turns pairs into tensors, as the start has it. */
async function openEncoder(dir: string): Promise<PairEncoder> {
  if (!fileExists(`${dir}/config.json`)) {
    throw new InputError(
      `start: ${dir}: expected a checkpoint directory with config.json; make one with: varyclip init clip-nano`,
    );
  }
  const { config, processor, tokenizer, checkpoint } = await openClip(dir);
  checkpoint.dispose();
  if (!tokenizer) throw new InputError(`start: ${dir}: has no tokenizer files`);
  return { config, processor, tokenizer };
}

/** A set by its contents; shards, which may be any size, by their names. */
function identityOf({ file, images: _, ...set }: ContrastiveRun['data'][number]): JsonObject {
  return { ...set, ...(isShard(file) ? { file } : { sha256: hashFile(file) }) };
}

/** The next batch is drawn while a step runs. */
function openParts(data: PairData, first: number): PartSource<ContrastiveBatch> {
  const draw = (index: number) => {
    const drawing = data.batch(index);
    drawing.catch(() => undefined);
    return drawing;
  };
  let [taken, next, waited] = [first, draw(first), 0];
  return {
    get waited() {
      return waited;
    },
    next: async () => {
      const began = performance.now();
      const { names, ...batch } = await next;
      waited += performance.now() - began;
      next = draw(++taken);
      return { batch, names, bad: [] };
    },
    dispose: async () => {
      await next.catch(() => undefined);
    },
  };
}

/** Figures of every file under `evaluation`. */
async function evaluate(
  run: ContrastiveRun,
  arenas: Arenas,
  runtime: Runtime,
  encoder: PairEncoder,
): Promise<Evaluation> {
  const model = createClipModel({
    ...encoder,
    runtime,
    weights: arenaLoader(arenas),
    precision: 'float32',
    close: () => undefined,
  });
  const figures: Record<string, number> = {};
  try {
    for (const [name, examination] of Object.entries(run.evaluation)) {
      const { top1, top5, recall10, textRecall10 } = await examine(model, examination);
      const found = { 'top-1': top1, 'top-5': top5, 'recall@10': recall10, 'recall@10 of labels': textRecall10 };
      for (const [figure, value] of Object.entries(found)) figures[`${name} ${figure}`] = value;
    }
  } finally {
    await model.dispose();
  }
  return { figures, better: 'higher', samples: [] };
}
