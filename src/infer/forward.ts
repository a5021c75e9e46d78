import type { Tensor } from '../core/tensor.js';
import { type ForwardInput, type PrepareOptions, prepareForward } from '../models/forward-inputs.js';
import type { DecoderFamily } from '../models/graphs.js';
import type { Runtime, WeightLoader } from '../runtime/runtime.js';

export interface ForwardOutput {
  /** float32 [B, T, V]. */
  readonly logits: Tensor<'float32'>;
  /** Mean cross-entropy of each label given what comes before it; with labels only. */
  readonly loss?: number;
  readonly taps: Readonly<Record<string, Tensor>>;
}

/** Runs the whole model once, in the numbers given. */
export async function forward(
  runtime: Runtime,
  weights: WeightLoader,
  family: DecoderFamily,
  input: ForwardInput,
  numbers: Pick<PrepareOptions, 'numbers' | 'towerNumbers'>,
): Promise<ForwardOutput> {
  const { graph, feeds } = prepareForward(family, input, numbers);
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
