// Cosines of what quantized models give to what the same random weights give in float32, full size: node dist/bench/accuracy.js
import { createRng } from '../src/core/rng.js';
import { floats, int32s, ints, sizeOf, type Tensor } from '../src/core/tensor.js';
import type { Graph, NumberFormat, ParameterSpec } from '../src/graph/builder.js';
import { numbersOf, type Precision } from '../src/infer/quantize.js';
import { clipVitB32, clipVitL14 } from '../src/models/clip.js';
import { imageGraph, nativeSize } from '../src/models/clip-graphs.js';
import { cachedDecoderGraph, optFamily, towerGraphs } from '../src/models/graphs.js';
import { opt125m } from '../src/models/opt.js';
import { varyTiny } from '../src/models/vary.js';
import { createRuntime } from '../src/node/ort/runtime.js';
import type { CarriedTensors, Session, WeightLoader } from '../src/runtime/runtime.js';

const runtime = createRuntime();

/** A parameter's seeded weights: a function of its name alone. */
function weightOf({ name, shape, init }: ParameterSpec): Tensor<'float32'> {
  const data = new Float32Array(sizeOf(shape));
  if (init.kind === 'constant') data.fill(init.value);
  else {
    const rng = createRng(...Array.from(name, (char) => char.charCodeAt(0)));
    for (let i = 0; i < data.length; i++) data[i] = init.std * rng.normal();
  }
  return { dtype: 'float32', shape, data };
}

function randomWeights(): WeightLoader {
  let last: { from: unknown; results: readonly Tensor[] } | undefined;
  return ({ sources, derived }, into) => {
    let tensor: Tensor;
    if (derived) {
      if (last?.from !== derived.from)
        last = { from: derived.from, results: derived.from.compute(sources.map(weightOf)) };
      tensor = last.results[derived.index];
    } else tensor = weightOf(sources[0]);
    (into as Float32Array).set(tensor.data as Float32Array);
  };
}

interface Case {
  readonly name: string;
  readonly graph: (numbers: NumberFormat) => Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly state?: (session: Session) => CarriedTensors;
  readonly precisions: readonly Precision[];
}

function images(name: string, count: number, side: number): Record<string, Tensor> {
  const rng = createRng(3);
  const size = count * 3 * side * side;
  return {
    [name]: floats(
      [count, 3, side, side],
      Float32Array.from({ length: size }, () => rng.normal()),
    ),
  };
}

const length = 32;
const places = Array.from({ length }, (_, i) => i);
const tokens = (values: readonly number[]) => ints([1, length], values);
const cases: readonly Case[] = [
  {
    name: "logits of OPT-125M's size",
    graph: (numbers) => cachedDecoderGraph(optFamily(opt125m), numbers),
    feeds: {
      inputIds: tokens(places.map((i) => (i * 7919) % 50000)),
      positions: tokens(places.map((i) => i + 2)),
      lastIndex: int32s([1], [length - 1]),
      totalLength: int32s([1], [length]),
      outputRows: ints([length], places),
    },
    state: (session) => session.createState({ batch: 1, cache: 64 }),
    precisions: ['int8', 'int4'],
  },
  ...[clipVitB32, clipVitL14].map((config): Case => {
    const { imageSize, patchSize } = config.vision;
    return {
      name: `images of a CLIP with patches of ${patchSize}`,
      graph: (numbers) => imageGraph(config, nativeSize(config), { numbers }),
      feeds: images('pixelValues', 4, imageSize),
      precisions: ['int8'],
    };
  }),
  {
    name: "features of Vary's tower",
    graph: (numbers) => towerGraphs(varyTiny, { numbers })[0],
    feeds: images('x', 1, 1024),
    precisions: ['int8'],
  },
];

/** Rows of the only output, which are as long as its last axis. */
async function rowsOf({ graph, feeds, state }: Case, precision: Precision): Promise<Float32Array[]> {
  const session = await runtime.compile(graph(await numbersOf(precision, runtime)), { weights: randomWeights() });
  const [output] = Object.values(await session.run(feeds, state && { state: state(session) }));
  await session.dispose();
  const width = output.shape[output.shape.length - 1];
  const data = output.data as Float32Array;
  return Array.from({ length: data.length / width }, (_, row) => data.subarray(row * width, (row + 1) * width));
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);

for (const one of cases) {
  const exact = await rowsOf(one, 'float32');
  for (const precision of one.precisions) {
    const rows = await rowsOf(one, precision);
    const cosines = rows.map((row, i) => dot(row, exact[i]) / Math.sqrt(dot(row, row) * dot(exact[i], exact[i])));
    const [least, count] = [Math.min(...cosines).toFixed(6), rows.length];
    process.stdout.write(`${one.name}, ${precision}: smallest cosine of ${count} rows ${least}\n`);
  }
}
