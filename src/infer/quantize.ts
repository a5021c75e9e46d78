import { InputError, RuntimeUnavailableError } from '../core/errors.js';
import { asObject } from '../core/json.js';
import { floats, type Tensor, zeros } from '../core/tensor.js';
import { createGraphBuilder, float32Numbers, type Graph, type NumberFormat } from '../graph/builder.js';
import { cachedDecoderGraph, type DecoderFamily, towerGraphs } from '../models/graphs.js';
import { blockSizes } from '../nn/quantized.js';
import type { Runtime } from '../runtime/runtime.js';
import { checkpointLoader, type NamedWeights, readNamed } from './weights.js';

/** Of the decoder's matrices; everything else stays as it is stored. */
export type Precision = 'float32' | 'int8' | 'int4';
/** Of a reader's vision tower. */
export type TowerPrecision = Exclude<Precision, 'int4'>;
export type QuantizedPrecision = Exclude<Precision, 'float32'>;

const numbers: Readonly<Record<Precision, NumberFormat>> = {
  float32: float32Numbers,
  int8: { weightBits: 8, inputBits: 8 },
  int4: { weightBits: 4, inputBits: 32 },
};
export const precisions: readonly Precision[] = ['float32', 'int8', 'int4'];

/** The numbers of a checkpoint's graphs, where it does not matter what runs them. */
export const storedNumbers = (precision: Precision): NumberFormat => numbers[precision];

/** The numbers to run with on this runtime. Throws RuntimeUnavailableError where it has no kernels for them. */
export async function numbersOf(precision: Precision, runtime: Runtime): Promise<NumberFormat> {
  const stored = storedNumbers(precision);
  if (precision !== 'float32' && runtime.device !== 'cpu') {
    throw new RuntimeUnavailableError(
      `precision ${precision}: quantized weights run on the CPU only, not on ${runtime.device}; use float32 there`,
    );
  }
  return stored.inputBits === 32 ? stored : { ...stored, inputBits: await inputBitsOn(runtime) };
}

const tried = new WeakMap<Runtime, Promise<8 | 7>>();

/**
 * 7 where sums of products of uint8 and int8 saturate at 16 bits: x86 without VNNI multiplies by vpmaddubsw. Found out by trying,
 * once for a runtime.
 */
function inputBitsOn(runtime: Runtime): Promise<8 | 7> {
  const known = tried.get(runtime) ?? tryProducts(runtime);
  tried.set(runtime, known);
  known.catch(() => tried.delete(runtime));
  return known;
}

async function tryProducts(runtime: Runtime): Promise<8 | 7> {
  const length = 64;
  const { root, input, output, finish } = createGraphBuilder('integers');
  const of = (tensor: Tensor) => root.constant(tensor);
  const weight = of({ dtype: 'int8', shape: [length, 1], data: new Int8Array(length).fill(127) });
  const [one, ones] = [of(floats([], [1])), of(floats([1], [1]))];
  const zero = of({ dtype: 'uint8', shape: [], data: Uint8Array.of(0) });
  const x = input('x', 'uint8', [1, length]);
  output('sum', root.op('MatMulIntegerToFloat', [x, weight, one, ones, zero], {}));
  const session = await runtime.compile(finish(), { weights: () => undefined });
  try {
    const data = new Uint8Array(length).fill(255);
    const { sum } = await session.run({ x: { dtype: 'uint8', shape: [1, length], data } });
    return sum.data[0] === length * 127 * 255 ? 8 : 7;
  } finally {
    await session.dispose();
  }
}

/** What `quantization_config.quant_method` says in a checkpoint of ours. */
const method = 'varyclip';

/** What it says besides: how the weights are laid out (nn/quantized.ts). */
const marks: Readonly<Record<QuantizedPrecision, Readonly<Record<string, number>>>> = {
  int8: { bits: 8 },
  int4: { bits: 4, block_size: blockSizes[4], block_size_of_8_bits: blockSizes[8] },
};

/** A `config.json` whose weights are quantized: the same with `quantization_config`, as Hugging Face's libraries mark it. */
export function quantizedConfig(config: unknown, precision: QuantizedPrecision, where: string): unknown {
  return { ...asObject(config, where), quantization_config: { quant_method: method, ...marks[precision] } };
}

/**
 * How a checkpoint's decoder is stored, by its `config.json`: undefined where nothing is quantized. Throws InputError for
 * quantization that is not ours.
 */
export function storedPrecision(config: unknown, where: string): QuantizedPrecision | undefined {
  const given = asObject(config, where)['quantization_config'];
  if (given === undefined || given === null) return undefined;
  const at = `${where}: quantization_config`;
  const { quant_method: by, ...mark } = asObject(given, at);
  const isMark = (name: QuantizedPrecision) => Object.keys(marks.int4).every((key) => mark[key] === marks[name][key]);
  const found = (['int8', 'int4'] as const).find(isMark);
  if (by === method && found) return found;
  throw new InputError(
    `${at}: expected quant_method ${method} with ${JSON.stringify(marks.int8)} or ${JSON.stringify(marks.int4)}, got ${JSON.stringify(given).slice(0, 200)}; take the checkpoint that is not quantized, and varyclip quantize (older versions stored them in another way)`,
  );
}

/**
 * The precision to load with: what is asked for, else what is stored. Throws InputError where quantized weights should become
 * something else: the original is gone.
 */
export function precisionOf(
  asked: Precision | undefined,
  stored: QuantizedPrecision | undefined,
  where: string,
): Precision {
  if (asked !== undefined && !precisions.includes(asked)) {
    throw new InputError(`precision: expected ${precisions.join(', ')}, got ${String(asked)}`);
  }
  if (stored === undefined || asked === undefined || asked === stored) return asked ?? stored ?? 'float32';
  throw new InputError(
    `${where}: its decoder is stored as ${stored}, which cannot become ${asked}; leave the precision out, or start from the checkpoint that is not quantized`,
  );
}

/** The graphs whose parameters are a model's checkpoint. */
export function modelGraphs(family: DecoderFamily, precision: Precision): readonly Graph[] {
  const decoder = cachedDecoderGraph(family, storedNumbers(precision));
  return [decoder, ...(family.kind === 'vary' ? towerGraphs(family.vary) : [])];
}

/**
 * Every tensor of a checkpoint with the decoder's matrices quantized, by our names; the others in the dtype they have. A
 * matrix that is looked up too, such as tied embeddings, is there both ways.
 */
export async function* quantizedTensors(
  family: DecoderFamily,
  weights: NamedWeights,
  precision: QuantizedPrecision,
): AsyncGenerator<readonly [name: string, tensor: Tensor]> {
  const load = checkpointLoader(weights);
  const done = new Set<string>();
  for (const parameter of modelGraphs(family, precision).flatMap(({ parameters }) => parameters)) {
    if (parameter.derived && !parameter.derived.from.layout) {
      const { dtype, shape } = parameter.value;
      const result = zeros(dtype, shape.map(Number));
      await load(parameter, result.data);
      yield [parameter.name, result];
    } else {
      for (const { name } of parameter.sources) {
        if (!done.has(name)) yield [name, await readNamed(weights, name)];
        done.add(name);
      }
    }
  }
}
