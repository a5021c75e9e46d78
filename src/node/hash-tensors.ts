import { createHash } from 'node:crypto';
import { bytesOf } from '../core/dtype.js';
import type { Checkpoint } from '../weights/checkpoint.js';

/** SHA-256 of all tensors by name: the same for the same weights, in whatever files they are. */
export async function hashTensors(checkpoint: Checkpoint): Promise<string> {
  const hash = createHash('sha256');
  for (const name of [...checkpoint.names].sort()) {
    const { dtype, shape, data } = await checkpoint.read(name);
    hash.update(JSON.stringify([name, dtype, shape])).update(bytesOf(data));
  }
  return hash.digest('hex');
}
