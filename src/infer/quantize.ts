import { InputError } from '../core/errors.js';
import { asObject } from '../core/json.js';
import { type Tensor, zeros } from '../core/tensor.js';
import type { Graph } from '../graph/builder.js';
import { cachedDecoderGraph, type DecoderFamily, towerGraphs } from '../models/graphs.js';
import { blockSize } from '../nn/quantized.js';
import { checkpointLoader, type NamedWeights, readNamed } from './weights.js';

/** Of the decoder's matrices; everything else stays as it is stored. */
export type Precision = 'float32' | 'int8' | 'int4';
export type QuantizedPrecision = Exclude<Precision, 'float32'>;

export const weightBits: { readonly float32: 32; readonly int8: 8; readonly int4: 4 } = {
  float32: 32,
  int8: 8,
  int4: 4,
};
export const precisions: readonly Precision[] = ['float32', 'int8', 'int4'];

/** What `quantization_config.quant_method` says in a checkpoint of ours. */
const method = 'varyclip';

/** A `config.json` whose weights are quantized: the same with `quantization_config`, as Hugging Face's libraries mark it. */
export function quantizedConfig(config: unknown, precision: QuantizedPrecision, where: string): unknown {
  const quantization = { quant_method: method, bits: weightBits[precision], block_size: blockSize };
  return { ...asObject(config, where), quantization_config: quantization };
}

/**
 * How a checkpoint's decoder is stored, by its `config.json`: undefined where nothing is quantized. Throws InputError for
 * quantization that is not ours.
 */
export function storedPrecision(config: unknown, where: string): QuantizedPrecision | undefined {
  const given = asObject(config, where)['quantization_config'];
  if (given === undefined || given === null) return undefined;
  const at = `${where}: quantization_config`;
  const { quant_method: by, bits, block_size: block } = asObject(given, at);
  const found = precisions.find((name) => weightBits[name] === bits);
  if (by === method && block === blockSize && found && found !== 'float32') return found;
  throw new InputError(
    `${at}: expected quant_method ${method}, bits 4 or 8, block_size ${blockSize}, got ${JSON.stringify(given).slice(0, 200)}; take the checkpoint that is not quantized, and varyclip quantize`,
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
  const decoder = cachedDecoderGraph(family, weightBits[precision]);
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
    if (parameter.derived) {
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
