/** Runs on rendered lines: the tower by CTC, or the whole reader. */
import { InputError } from '../../core/errors.js';
import type { Tensor } from '../../core/tensor.js';
import type { RenderedLine } from '../../data/rendered/line.js';
import { draftBlank, draftPath, greedyIds } from '../../models/draft.js';
import { varyFamily } from '../../models/graphs.js';
import { editDistance } from '../../text/metrics.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import { type Arenas, arenaLoader } from '../../train/arena.js';
import type { Task } from '../../train/task.js';
import { ctcGraph, ctcTask, type ReadingBatch, readingTask, type TranscribedBatch } from '../../train/tasks.js';
import type { LineStage } from '../rendered/line-batches.js';
import { createLineSource } from '../rendered/line-source.js';
import { createTextRenderer } from '../rendered/renderer.js';
import { arenaModel } from './arena-model.js';
import type { Evaluation, Kind, Place, Start } from './kind.js';
import { linePixels, readByCanvas, readingBatch, readingInput, textIds, transcribedBatch } from './line-batch.js';
import type { LineRun } from './run-file.js';
import { varyKind } from './vary-start.js';

/** What of a line task depends on the task. */
interface LineTask<Batch> {
  readonly task: Task<Batch>;
  /** `step` counts from 0. */
  batch(lines: readonly RenderedLine[], step: number): Batch;
  /** The texts of lines, by the parameters as they are now. */
  read(arenas: Arenas, lines: readonly RenderedLine[]): Promise<string[]>;
}

/** The tower by CTC. */
export function ctcKind(run: LineRun, start: Start, place: Place): Kind<TranscribedBatch> {
  const { config, tokenizer, runtime } = start;
  return lineKind(run, start, place, {
    task: ctcTask(config),
    batch: (lines, step) => transcribedBatch(lines, config, { tokenizer, aligned: step < run.alignedSteps }),
    read: async (arenas, lines) => {
      const pixelValues = linePixels(lines, config);
      const graph = ctcGraph(config, pixelValues.shape);
      const session = await runtime.compile(graph, { weights: arenaLoader(arenas) });
      const { logits } = await session.run({ pixelValues });
      await session.dispose();
      return greedyIds(logits as Tensor<'float32'>, draftBlank(config)).map((ids) => tokenizer.decode(ids));
    },
  });
}

/** The whole reader by next tokens, asked with the plain prompt. */
export function readingKind(run: LineRun, start: Start, place: Place): Kind<ReadingBatch> {
  const { config, tokenizer, imageTokens } = start;
  return lineKind(run, start, place, {
    task: readingTask(varyFamily(config)),
    batch: (lines, step) => readingBatch(lines, config, { tokenizer, imageTokens, guided: step < run.guidedSteps }),
    read: async (arenas, lines) => {
      const model = arenaModel(start, arenas);
      const rows = await model.generateRows(readingInput(lines, start));
      await model.dispose();
      return rows.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
    },
  });
}

/** Seed of the lines that runs are evaluated on: fonts and words that training never has. */
const heldOutSeed = 977;

function lineKind<Batch>(run: LineRun, start: Start, place: Place, line: LineTask<Batch>): Kind<Batch> {
  const { config, tokenizer } = start;
  if (config.input !== 'line') {
    throw new InputError(
      `start: ${start.dir}: its images are pages; task ${run.task} trains on lines (vary_input: line), task conversations on pages`,
    );
  }
  const [height, width] = config.tower.imageSize;
  const stages = run.stages.map((stage) => ({
    ...stage,
    height,
    maxAspect: Math.min(stage.maxAspect ?? width / height, width / height),
    split: 'train' as const,
  }));
  let held: readonly RenderedLine[] | undefined;
  const vary = varyKind(run, start);
  return {
    ...vary,
    task: line.task,
    steps: run.steps,
    isPublished: (name) => config.draft !== undefined || !name.startsWith(draftPath),
    settings: {
      ...vary.settings,
      stages: run.stages,
      ...(run.alignedSteps > 0 && { alignedSteps: run.alignedSteps }),
      ...(run.guidedSteps > 0 && { guidedSteps: run.guidedSteps }),
    },
    configChanges: run.task === 'read' ? { vary_template: 'plain' } : {},
    summary: [`rendered lines without end, ${stages.length} stage(s); ${run.evaluationLines} held-out lines`],
    open: async (first) => {
      const source = createLineSource({
        seed: run.seed,
        workers: run.workers,
        batchSize: run.batchSize,
        stages,
        start: first * place.size + place.rank,
        stride: place.size,
      });
      let taken = first;
      return {
        get waited() {
          return source.waited;
        },
        next: async () => {
          const { lines } = await source.next();
          const step = Math.floor(taken++ / run.accumulate);
          const fitting = lines.filter(({ text }) => fits(text, start, tokenizer));
          const bad = lines.filter((each) => !fitting.includes(each)).map(({ index }) => `line ${index}: too long`);
          const names = fitting.map(({ index, text }) => `line ${index} (${JSON.stringify(text)})`);
          return { batch: fitting.length > 0 ? line.batch(fitting, step) : undefined, names, bad };
        },
        dispose: () => source.dispose(),
      };
    },
    evaluate: async (arenas): Promise<Evaluation> => {
      held ??= await heldOutLines(run, stages[stages.length - 1]);
      const texts = await readByCanvas(held, config, (some) => line.read(arenas, some));
      const errors = held.reduce((sum, { text }, i) => sum + editDistance([...text], [...texts[i]]), 0);
      const characters = held.reduce((sum, { text }) => sum + [...text].length, 0);
      return {
        figures: { cer: errors / characters },
        better: 'lower',
        samples: held.slice(0, 6).map(({ text }, i) => ({ truth: text, read: texts[i] })),
      };
    },
    dispose: async () => undefined,
  };
}

/** A text longer than the model's positions cannot be learnt. */
function fits(text: string, { config: { decoder, imageTokens } }: Start, tokenizer: Tokenizer): boolean {
  return textIds(tokenizer, text).length + imageTokens.count + 4 <= decoder.maxPositions;
}

async function heldOutLines(run: LineRun, stage: LineStage): Promise<readonly RenderedLine[]> {
  const renderer = await createTextRenderer();
  const { fromBatch: _, ...options } = stage;
  return Array.from({ length: run.evaluationLines }, (_, index) =>
    renderer.renderLine({ ...options, seed: heldOutSeed, index, split: 'heldOut' }),
  );
}
