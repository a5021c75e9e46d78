/** An engine over a model of random weights, without files, that says how long its runs take. */
import { randomWeights } from '../src/cli/bench.js';
import { createRng } from '../src/core/rng.js';
import { floats, sizeOf, type Tensor } from '../src/core/tensor.js';
import { createSessionDecoder, type SlotBatch } from '../src/infer/decoder.js';
import { createEngine, type Engine, type EngineRow } from '../src/infer/engine.js';
import { cachedDecoderGraph, towerGraphs, varyFamily } from '../src/models/graphs.js';
import { spliceSources } from '../src/models/vary.js';
import { createRuntime } from '../src/node/ort/runtime.js';
import type { Session } from '../src/runtime/runtime.js';
import type { Size } from './server-sizes.js';

/** A run of the model, in milliseconds of `performance.now()`. */
export interface Run {
  readonly kind: 'tower' | 'prefill' | 'step';
  readonly from: number;
  readonly to: number;
}

export interface BenchEngine {
  readonly engine: Engine;
  /** Runs since this was last emptied. */
  readonly runs: Run[];
  /** Ids that differ from row to row, without a picture. */
  textRow(index: number): EngineRow;
  /** A page of noise. */
  pageRow(index: number): EngineRow;
  dispose(): Promise<void>;
}

interface EngineSettings {
  readonly threads: number;
  readonly slots: number;
  /** Parts of the tower; 0: there is none. */
  readonly segments: number;
}

export async function openBenchEngine(
  { config }: Size,
  { threads, slots, segments }: EngineSettings,
): Promise<BenchEngine> {
  const runtime = createRuntime({ threads });
  const weights = { weights: randomWeights };
  const tower: Session[] = [];
  for (const graph of segments === 0 ? [] : towerGraphs(config, { segments }))
    tower.push(await runtime.compile(graph, weights));
  const session = await runtime.compile(cachedDecoderGraph(varyFamily(config)), weights);
  const { width, maxPositions, vocabSize } = config.decoder;
  const decoder = createSessionDecoder(session, { width, maxPositions, withImages: true });
  const runs: Run[] = [];
  const timed = async <T>(kind: Run['kind'], run: () => Promise<T>): Promise<T> => {
    const from = performance.now();
    const result = await run();
    runs.push({ kind, from, to: performance.now() });
    return result;
  };
  const timedSlots = (batch: SlotBatch): SlotBatch => ({
    ...batch,
    fill: (...args) => timed('prefill', () => batch.fill(...args)),
    step: (...args) => timed('step', () => batch.step(...args)),
  });
  const { imageTokens, tower: sam } = config;
  const engine = createEngine(
    [
      {
        decoder: { maxPositions, openSlots: (count) => timedSlots(decoder.openSlots(count)) },
        tower: tower.map(
          (part) => (x: Tensor) => timed('tower', async () => ({ x: (await part.run({ x }))['x.out'] })),
        ),
        towerImages: () => 1,
        promptOf: (ids, features) => ({ ids, images: { features, source: spliceSources([ids], imageTokens, 1)[0] } }),
      },
    ],
    { slots },
  );
  const ids = (index: number, count: number) => {
    const rng = createRng(index, 1);
    return Array.from({ length: count }, () => rng.integer(100, vocabSize - 100));
  };
  const shape = [3, ...sam.imageSize];
  return {
    engine,
    runs,
    textRow: (index) => ({ ids: ids(index, imageTokens.count + 4) }),
    pageRow: (index) => {
      const rng = createRng(index, 2);
      const pixels = floats(
        shape,
        Array.from({ length: sizeOf(shape) }, () => 4 * rng.next() - 2),
      );
      const block = [imageTokens.start, ...Array<number>(imageTokens.count).fill(imageTokens.patch), imageTokens.end];
      return { ids: [2, ...block, ...ids(index, 1)], picture: { shape, draw: (into) => into.set(pixels.data) } };
    },
    dispose: async () => {
      await engine.close();
      for (const each of [...tower, session]) await each.dispose();
    },
  };
}
