// Cosine of full-size quantized logits to float32's, the same random weights: node dist/bench/accuracy.js
import { createRng } from '../src/core/rng.js';
import { int32s, ints, sizeOf, type Tensor } from '../src/core/tensor.js';
import type { ParameterSpec } from '../src/graph/builder.js';
import { numbersOf, type Precision } from '../src/infer/quantize.js';
import { cachedDecoderGraph, optFamily } from '../src/models/graphs.js';
import { opt125m } from '../src/models/opt.js';
import { createRuntime } from '../src/node/ort/runtime.js';

const length = 32;
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

async function logits(precision: Precision): Promise<Float32Array> {
  let last: { from: unknown; results: readonly Tensor[] } | undefined;
  const session = await runtime.compile(cachedDecoderGraph(optFamily(opt125m), await numbersOf(precision, runtime)), {
    weights: ({ sources, derived }, into) => {
      let tensor: Tensor;
      if (derived) {
        if (last?.from !== derived.from)
          last = { from: derived.from, results: derived.from.compute(sources.map(weightOf)) };
        tensor = last.results[derived.index];
      } else tensor = weightOf(sources[0]);
      (into as Float32Array).set(tensor.data as Float32Array);
    },
  });
  const places = Array.from({ length }, (_, i) => i);
  const result = await session.run(
    {
      inputIds: ints(
        [1, length],
        places.map((i) => (i * 7919) % 50000),
      ),
      positions: ints(
        [1, length],
        places.map((i) => i + 2),
      ),
      lastIndex: int32s([1], [length - 1]),
      totalLength: int32s([1], [length]),
      outputRows: ints([length], places),
    },
    { state: session.createState({ batch: 1, cache: 64 }) },
  );
  await session.dispose();
  return result['logits'].data as Float32Array;
}

const reference = await logits('float32');
const width = reference.length / length;
for (const precision of ['int8', 'int4'] as const) {
  const got = await logits(precision);
  const cosines = Array.from({ length }, (_, row) => {
    let [dot, a, b] = [0, 0, 0];
    for (let i = row * width; i < (row + 1) * width; i++) {
      dot += got[i] * reference[i];
      a += got[i] ** 2;
      b += reference[i] ** 2;
    }
    return dot / Math.sqrt(a * b);
  });
  process.stdout.write(`${precision}: smallest cosine of ${length} rows ${Math.min(...cosines).toFixed(6)}\n`);
}
