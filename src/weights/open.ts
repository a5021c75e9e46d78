import type { Checkpoint } from './checkpoint.js';
import { openSafetensors } from './safetensors.js';
import { type ByteSource, readBytes } from './source.js';
import { openTorch } from './torch.js';

/**
 * Opens one file of weights, safetensors or torch.save, by its name's extension or else by its first bytes. The source is disposed
 * of with the checkpoint, or at once where it cannot be opened. Throws WeightsError.
 */
export async function openCheckpointFile(source: ByteSource): Promise<Checkpoint> {
  try {
    return (await isSafetensors(source)) ? await openSafetensors(source) : await openTorch(source);
  } catch (error) {
    source.dispose?.();
    throw error;
  }
}

async function isSafetensors(source: ByteSource): Promise<boolean> {
  if (/\.safetensors$/i.test(source.name)) return true;
  if (/\.(bin|pt|pth|ckpt)$/i.test(source.name) || source.size < 9) return false;
  const [first] = await readBytes(source, 8, 1, 'the first bytes');
  return first === 0x7b;
}
