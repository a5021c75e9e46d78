/** Runs on pairs of pictures and texts: two towers into one space. */
import { join } from 'node:path';
import { InputError } from '../../core/errors.js';
import { createClipModel } from '../../infer/clip-model.js';
import type { RetrievalFigures } from '../../infer/retrieval.js';
import type { Runtime } from '../../runtime/runtime.js';
import { arenaLoader } from '../../train/arena.js';
import { type ContrastiveBatch, contrastiveTask } from '../../train/contrastive.js';
import { openPairData, type PairEncoder } from '../data/pair-data.js';
import { fileExists } from '../files.js';
import { openClip } from '../load-clip.js';
import type { Kind, PartSource, Place } from './kind.js';
import { examine } from './picture-evaluation.js';
import type { ContrastiveRun } from './run-file.js';

/** Biases, gains and the temperature are not decayed. */
const undecayed = String.raw`(bias|layer_?norm[^.]*\.weight|layrnorm\.weight|logit_scale|class_embedding)$`;

/** Opens the checkpoint and the data of a contrastive run. Throws InputError for a start that is not CLIP's or SigLIP's. */
export async function contrastiveKind(
  run: ContrastiveRun,
  runtime: Runtime,
  place: Place,
): Promise<Kind<ContrastiveBatch>> {
  const encoder = await openEncoder(run.start);
  const { seed, batchSize, views, augment, buffer, imageWeight, chunkSize } = run;
  const data = openPairData(
    { sets: run.data, batchSize, views, augment, buffer, seed, rank: place.rank, ranks: place.size },
    encoder,
  );
  const task = contrastiveTask(encoder.config, runtime, { imageWeight, ...(chunkSize !== undefined && { chunkSize }) });
  return {
    task,
    steps: run.steps,
    isPublished: () => true,
    groups: [{ match: undecayed, weightDecay: 0 }],
    settings: {
      data: run.data,
      views,
      augment,
      imageWeight,
      ...(data.rows === undefined && { buffer }),
      ...(chunkSize !== undefined && { chunkSize }),
    },
    configChanges: {},
    summary: [
      data.rows === undefined
        ? `shards: ${run.data.map(({ file }) => file).join(', ')}`
        : `${data.rows} rows, ${((run.steps * run.accumulate * batchSize * place.size) / data.rows).toFixed(1)} times in all`,
    ],
    open: async (first) => aheadOf(first, data.batch, ({ textLabels }) => `${textLabels.length} rows`),
    ...(Object.keys(run.evaluation).length > 0 && {
      evaluate: async (arenas) => {
        const weights = arenaLoader(arenas);
        const model = createClipModel({ ...encoder, runtime, weights, precision: 'float32', close: () => undefined });
        try {
          const figures: Record<string, number> = {};
          for (const [name, set] of Object.entries(run.evaluation)) {
            Object.assign(figures, errorsOf(name, await examine(model, set)));
          }
          return { figures, samples: [] };
        } finally {
          await model.dispose();
        }
      },
    }),
    dispose: async () => undefined,
  };
}

async function openEncoder(dir: string): Promise<PairEncoder> {
  if (!fileExists(join(dir, 'config.json'))) {
    throw new InputError(`start: ${dir}: expected a checkpoint in transformers' layout, with a config.json`);
  }
  const { config, processor, tokenizer, checkpoint } = await openClip(dir);
  checkpoint.dispose();
  if (!tokenizer) throw new InputError(`start: ${dir}: has no tokenizer files`);
  return { config, processor, tokenizer };
}

/** Shares of pictures that were not told: lower is better. */
const errorsOf = (name: string, { top1, top5, recall10 }: RetrievalFigures): Record<string, number> => ({
  [`${name}, top-1 errors`]: 1 - top1,
  [`${name}, top-5 errors`]: 1 - top5,
  [`${name}, recall@10 misses`]: 1 - recall10,
});

/** Batches from `first` on; the next one is made while one is used. */
function aheadOf<Batch>(
  first: number,
  make: (index: number) => Promise<Batch>,
  nameOf: (batch: Batch) => string,
): PartSource<Batch> {
  let index = first;
  let waited = 0;
  const start = (): Promise<Batch> => {
    const made = make(index++);
    // An error is met when its batch is taken, not before.
    made.catch(() => undefined);
    return made;
  };
  let next = start();
  return {
    get waited() {
      return waited;
    },
    next: async () => {
      const asked = performance.now();
      const batch = await next;
      waited += performance.now() - asked;
      next = start();
      return { batch, names: [nameOf(batch)], bad: [] };
    },
    dispose: async () => {
      await next.catch(() => undefined);
    },
  };
}
