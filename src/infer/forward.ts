import type { Tensor } from '../core/tensor.js';
import type { NumberFormat } from '../graph/builder.js';
import { type ForwardInput, prepareForward } from '../models/forward-inputs.js';
import type { DecoderFamily } from '../models/graphs.js';
import type { Runtime, WeightLoader } from '../runtime/runtime.js';

export interface ForwardOutput {
  /** float32 [B, T, V]. */
  readonly logits: Tensor<'float32'>;
  /** Mean cross-entropy of each label given what comes before it; with labels only. */
  readonly loss?: number;
  readonly taps: Readonly<Record<string, Tensor>>;
}

/** Runs the whole model once, with the decoder's matrices in `numbers`. */
export async function forward(
  runtime: Runtime,
  weights: WeightLoader,
  family: DecoderFamily,
  input: ForwardInput,
  numbers: NumberFormat,
): Promise<ForwardOutput> {
  const { graph, feeds } = prepareForward(family, input, { numbers });
  const session = await runtime.compile(graph(), { weights });
  try {
    const { logits, loss, ...taps } = await session.run(feeds);
    const [B, T] = [input.inputIds.length, input.inputIds[0].length];
    const shaped: Tensor<'float32'> = {
      dtype: 'float32',
      shape: [B, T, logits.shape[1]],
      data: logits.data as Float32Array,
    };
    return { logits: shaped, taps, ...(loss && { loss: Number(loss.data[0]) }) };
  } finally {
    await session.dispose();
  }
}
