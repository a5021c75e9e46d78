import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { itemSize } from '../core/dtype.js';
import { AbortedError, InputError } from '../core/errors.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import { type QuantizedPrecision, quantizedConfig, quantizedTensors } from '../infer/quantize.js';
import { nameDecoderWeights } from '../infer/weights.js';
import type { TensorInfo } from '../weights/checkpoint.js';
import { safetensorsChunks } from '../weights/safetensors.js';
import { expectNothingAt, makeDirectoryAtomic, writeFileAtomic, writeTextAtomic } from './atomic.js';
import { openWeights, readConfig } from './checkpoint-dir.js';
import { copySideFiles } from './checkpoint-files.js';
import { resolveModel } from './hub/resolve.js';
import { hubSettings } from './hub/settings.js';
import { isClipPath } from './load-clip.js';
import { checkWeights, familyOf } from './load-model.js';

export interface QuantizeOptions {
  readonly precision: QuantizedPrecision;
  /** A directory that does not exist yet, or is empty. */
  readonly out: string;
  readonly signal?: AbortSignal;
  /** Called before each tensor with its name. */
  readonly onTensor?: (name: string) => void;
}

export interface QuantizedCheckpoint {
  /** Bytes of all tensors before and after. */
  readonly bytesBefore: number;
  readonly bytes: number;
  /** How many matrices are quantized now. */
  readonly matrices: number;
}

/**
 * Writes a checkpoint whose decoder's matrices are stored in 8 or 4 bits; everything else is copied as it is. Loading it gives
 * exactly what quantizing at load gives. The directory appears when it is complete. Throws InputError and WeightsError.
 */
export async function quantizeCheckpoint(
  name: string,
  { precision, out, signal, onTensor }: QuantizeOptions,
): Promise<QuantizedCheckpoint> {
  const dir = await resolveModel(name, { settings: hubSettings(process.env) });
  if (isClipPath(dir))
    throw new InputError(
      `${dir}: is a CLIP checkpoint, which has no decoder; its towers are quantized when it is loaded`,
    );
  const { family, rename, stored } = familyOf(dir);
  if (stored)
    throw new InputError(`${dir}: is stored as ${stored} already; start from the checkpoint it was made from`);
  expectNothingAt(out);
  const checkpoint = await openWeights(dir);
  try {
    const weights = await nameDecoderWeights(checkpoint, rename, family.decoder);
    checkWeights(family, weights, precision);
    const tensors: (readonly [string, Tensor])[] = [];
    for await (const entry of quantizedTensors(family, weights, precision)) {
      // An interrupt is heard between tensors only if the event loop turns.
      await setImmediate();
      if (signal?.aborted) throw new AbortedError(`${out}: interrupted; nothing was written`);
      onTensor?.(entry[0]);
      tensors.push(entry);
    }
    await makeDirectoryAtomic(out, async (temporary) => {
      copySideFiles(dir, temporary);
      const config = quantizedConfig(readConfig(dir), precision, join(dir, 'config.json'));
      writeTextAtomic(join(temporary, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
      writeFileAtomic(join(temporary, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
    });
    return {
      bytesBefore: total(checkpoint.names.map((name) => bytesOfInfo(checkpoint.info(name)))),
      bytes: total(tensors.map(([, { data }]) => data.byteLength)),
      matrices: tensors.filter(([name]) => name.endsWith('.quantized')).length,
    };
  } finally {
    checkpoint.dispose();
  }
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const bytesOfInfo = ({ dtype, shape }: TensorInfo) => sizeOf(shape) * itemSize(dtype);
