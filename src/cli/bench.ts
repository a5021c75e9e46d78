import { availableParallelism } from 'node:os';
import { InputError } from '../core/errors.js';
import { argmax } from '../core/logits.js';
import { floats, type Tensor } from '../core/tensor.js';
import { createGraphBuilder } from '../graph/builder.js';
import { createSessionDecoder } from '../infer/decoder.js';
import { numbersOf, type Precision, type TowerPrecision } from '../infer/quantize.js';
import { type ClipConfig, clipVitB32, clipVitL14, type VisionTowerConfig } from '../models/clip.js';
import { imageGraph, nativeSize } from '../models/clip-graphs.js';
import { cachedDecoderGraph, towerGraphs, varyFamily } from '../models/graphs.js';
import { varyTiny } from '../models/vary.js';
import { createRuntime } from '../node/ort/runtime.js';
import type { Runtime, WeightLoader } from '../runtime/runtime.js';
import type { Command, Io } from './command.js';
import { threadsOf } from './load-options.js';

/** Floating-point operations of one 1024² page in the reference tower. */
const towerFlops = 950e9;
/** A shape of the tower's own multiplications: rows, inputs, outputs. */
const towerGemm = [4096, 768, 3072] as const;
const promptLength = 260;
const pageTokens = 500;

interface Settings {
  readonly runtime: Runtime;
  readonly precision: Precision;
  readonly towerPrecision: TowerPrecision;
  readonly batch: number;
  readonly repeats: number;
  readonly profilePath: string | undefined;
}

export const benchCommand: Command = {
  usage: 'varyclip bench tower|decode|page|clip-b32|clip-l14 [options]',
  options: {
    precision: { type: 'string', value: 'float32|int8|int4', help: "of the decoder's or CLIP's weights (float32)" },
    'tower-precision': { type: 'string', value: 'float32|int8', help: "of the weights of a reader's tower (float32)" },
    batch: { type: 'string', value: 'N', help: 'rows decoded, or images embedded, together (1)' },
    threads: { type: 'string', short: 't', value: 'N', help: 'threads (all cores)' },
    repeats: { type: 'string', value: 'N', help: 'tower runs, or decode steps × 20 (3)' },
    profile: { type: 'string', value: 'PREFIX', help: "write ONNX Runtime's profile to PREFIX*.json" },
    json: { type: 'boolean', help: 'one JSON document' },
  },
  mostArguments: 1,
  run: async (args, io) => {
    const threads = threadsOf(args, 'threads') ?? availableParallelism();
    const settings: Settings = {
      runtime: createRuntime({ threads }),
      precision: args.choice('precision', ['float32', 'int8', 'int4']) ?? 'float32',
      towerPrecision: args.choice('tower-precision', ['float32', 'int8']) ?? 'float32',
      batch: args.count('batch') ?? 1,
      repeats: args.count('repeats') ?? 3,
      profilePath: args.text('profile'),
    };
    const [what] = args.positionals;
    const benches: Record<string, (s: Settings) => Promise<Record<string, number>>> = {
      tower: benchTower,
      decode: benchDecode,
      page: benchPage,
      'clip-b32': (s) => benchClip(clipVitB32, s),
      'clip-l14': (s) => benchClip(clipVitL14, s),
    };
    if (what === undefined || !Object.hasOwn(benches, what))
      throw new InputError(`bench: expected ${Object.keys(benches).join(', ')}`);
    const { precision, towerPrecision, batch } = settings;
    const result = { bench: what, threads, precision, towerPrecision, batch, ...(await benches[what](settings)) };
    print(result, args.flag('json'), io);
    return 0;
  },
};

function print(result: Record<string, string | number>, json: boolean, io: Io): void {
  if (json) io.out(`${JSON.stringify(result)}\n`);
  else for (const [name, value] of Object.entries(result)) io.out(`${name.padEnd(20)}${value}\n`);
}

/**
 * Small pseudo-random weights. No two parameters are alike: ONNX Runtime keeps packed weights of equal contents once, and what then
 * stays in the processor's cache would be measured instead of memory.
 */
export const randomWeights: WeightLoader = ({ name, value }, into) => {
  if (value.shape.length === 1) {
    into.fill(0.01 as never);
    return;
  }
  let seed = 0;
  for (let i = 0; i < name.length; i++) seed = Math.imul(seed ^ name.charCodeAt(i), 2654435761);
  if (value.dtype !== 'float32') for (let i = 0; i < into.length; i++) into[i] = Math.imul(i ^ seed, 2654435761) >>> 24;
  else for (let i = 0; i < into.length; i++) into[i] = (Math.imul(i ^ seed, 2654435761) >> 8) * 2 ** -28;
};

const seconds = async (run: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
};
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Multiplications of a tower's own shape: operations per second, in units of 1e9. */
async function gemmRate({ runtime }: Settings, [M, K, N]: readonly [number, number, number]): Promise<number> {
  const builder = createGraphBuilder('gemm');
  const x = builder.input('x', 'float32', [M, K]);
  const weight = builder.root.parameter('weight', [N, K], { kind: 'normal', std: 1 });
  const product = builder.root.op('Gemm', [x, weight], { transB: 1 });
  builder.output('y', builder.root.op('Slice', [product], { starts: [0], ends: [1], axes: [0] }));
  const session = await runtime.compile(builder.finish(), { weights: randomWeights });
  const feed = { x: floats([M, K], new Float32Array(M * K).fill(0.5)) };
  const times: number[] = [];
  for (let i = 0; i < 12; i++) times.push(await seconds(() => session.run(feed)));
  await session.dispose();
  return (2 * M * N * K) / median(times.slice(2)) / 1e9;
}

async function openTower({ runtime, towerPrecision, profilePath }: Settings) {
  const [graph] = towerGraphs(varyTiny, { numbers: await numbersOf(towerPrecision, runtime) });
  const options = profilePath === undefined ? {} : { profilePath };
  return runtime.compile(graph, { weights: randomWeights, ...options });
}

const page = (): Record<string, Tensor> => {
  const data = Float32Array.from({ length: 3 << 20 }, (_, i) => ((Math.imul(i, 2654435761) >>> 16) % 256) / 64 - 2);
  return { x: floats([1, 3, 1024, 1024], data) };
};

async function benchTower(settings: Settings): Promise<Record<string, number>> {
  const before = await gemmRate(settings, towerGemm);
  const session = await openTower(settings);
  const feeds = page();
  await session.run(feeds);
  const times: number[] = [];
  for (let i = 0; i < settings.repeats; i++) times.push(await seconds(() => session.run(feeds)));
  await session.dispose();
  const gemmGflops = Math.max(before, await gemmRate(settings, towerGemm));
  return { secondsPerPage: median(times), gemmGflops, floorSeconds: towerFlops / gemmGflops / 1e9 };
}

async function openDecoder({ runtime, precision, profilePath }: Settings) {
  const graph = cachedDecoderGraph(varyFamily(varyTiny), await numbersOf(precision, runtime));
  const options = profilePath === undefined ? {} : { profilePath };
  const session = await runtime.compile(graph, { weights: randomWeights, ...options });
  const { width, maxPositions } = varyTiny.decoder;
  return { session, decoder: createSessionDecoder(session, { width, maxPositions, withImages: true }) };
}

const prompt = Array.from({ length: promptLength }, (_, i) => 100 + i);

async function benchDecode(settings: Settings): Promise<Record<string, number>> {
  const { session, decoder } = await openDecoder(settings);
  const rows = Array.from({ length: settings.batch }, (_, i) => i);
  const prompts = rows.map(() => ({ ids: prompt }));
  let started: Awaited<ReturnType<typeof decoder.start>> | undefined;
  const prefillSeconds = await seconds(async () => {
    started = await decoder.start(prompts, rows);
  });
  if (!started) throw new Error('the decoder did not start');
  let tokens = started.logits.map(argmax);
  const times: number[] = [];
  const steps = Math.max(40, settings.repeats * 20);
  for (let i = 0; i < steps + 5; i++) {
    const batch = started.batch;
    times.push(await seconds(async () => (tokens = (await batch.step(tokens)).map(argmax))));
  }
  started.batch.dispose();
  await session.dispose();
  const millisecondsPerStep = 1000 * median(times.slice(5));
  return { millisecondsPerStep, tokensPerSecond: (1000 * settings.batch) / millisecondsPerStep, prefillSeconds };
}

async function benchPage(settings: Settings): Promise<Record<string, number>> {
  const tower = await openTower(settings);
  const { session, decoder } = await openDecoder(settings);
  const feeds = page();
  const times: number[] = [];
  for (let i = 0; i < settings.repeats; i++) {
    times.push(
      await seconds(async () => {
        const features = (await tower.run(feeds))['x.out'] as Tensor<'float32'>;
        const flat: Tensor<'float32'> = { ...features, shape: features.shape.slice(1) };
        const source = prompt.map((_, t) => (t >= 2 && t < 258 ? promptLength + t - 2 : t));
        const start = await decoder.start([{ ids: prompt, images: { features: flat, source } }], [0]);
        let tokens = start.logits.map(argmax);
        for (let token = 1; token < pageTokens; token++) tokens = (await start.batch.step(tokens)).map(argmax);
        start.batch.dispose();
      }),
    );
  }
  await tower.dispose();
  await session.dispose();
  return { seconds: median(times), peakRssBytes: process.resourceUsage().maxRSS * 1024 };
}

/** Operations of one image through a vision tower: its multiplications, two for each. */
function visionFlops({ width, layers, mlpWidth, imageSize, patchSize }: VisionTowerConfig): number {
  const patches = (imageSize / patchSize) ** 2;
  const tokens = patches + 1;
  const layer = tokens * width * (4 * width + 2 * mlpWidth) + 2 * tokens ** 2 * width;
  return 2 * (layers * layer + patches * width * 3 * patchSize ** 2);
}

async function benchClip(config: ClipConfig, settings: Settings): Promise<Record<string, number>> {
  const { runtime, precision, batch, profilePath } = settings;
  const { imageSize, patchSize, width, mlpWidth } = config.vision;
  const rows = batch * ((imageSize / patchSize) ** 2 + 1);
  const before = await gemmRate(settings, [rows, width, mlpWidth]);
  const session = await runtime.compile(
    imageGraph(config, nativeSize(config), { numbers: await numbersOf(precision, runtime) }),
    {
      weights: randomWeights,
      ...(profilePath !== undefined && { profilePath }),
    },
  );
  const pixels = page()['x'].data.slice(0, batch * 3 * imageSize ** 2) as Float32Array;
  const feeds = { pixelValues: floats([batch, 3, imageSize, imageSize], pixels) };
  for (let i = 0; i < 3; i++) await session.run(feeds);
  const times: number[] = [];
  for (let i = 0; i < settings.repeats * 5; i++) times.push(await seconds(() => session.run(feeds)));
  await session.dispose();
  const gemmGflops = Math.max(before, await gemmRate(settings, [rows, width, mlpWidth]));
  return {
    millisecondsPerImage: (1000 * median(times)) / batch,
    gemmGflops,
    floorMilliseconds: visionFlops(config.vision) / gemmGflops / 1e6,
  };
}
