import { InputError } from '../../core/errors.js';
import type { Tensor } from '../../core/tensor.js';
import { nameDecoderWeights } from '../../infer/weights.js';
import type { OptConfig } from '../../models/opt.js';
import { type Arenas, viewSlot } from '../../train/arena.js';
import { readFloat32 } from '../../weights/checkpoint.js';
import { openWeights } from '../checkpoint-dir.js';
import type { StartWeights } from './kind.js';

/** The tensors of a checkpoint with a decoder, by our names. */
export function decoderStart(
  dir: string,
  rename: (name: string) => string,
  decoder: Pick<OptConfig, 'tiedHead'>,
): StartWeights {
  return { dir, open: () => openWeights(dir), name: (checkpoint) => nameDecoderWeights(checkpoint, rename, decoder) };
}

/**
 * Puts a checkpoint's tensors into the arenas; returns those that are not trained. Throws InputError naming a tensor that is
 * missing or of another shape.
 */
export async function loadStart(
  { dir, open, name: named }: StartWeights,
  arenas: Arenas,
  isPublished: (name: string) => boolean,
): Promise<ReadonlyMap<string, Tensor>> {
  const checkpoint = await open();
  const untouched = new Map<string, Tensor>();
  try {
    const seen = new Set<string>();
    for (const [ours, name] of (await named(checkpoint)).names) {
      const tensor = await readFloat32(checkpoint, name);
      const slot = arenas.layout.slots.get(ours);
      if (!slot) untouched.set(ours, tensor);
      else if (String(slot.shape) !== String(tensor.shape)) {
        throw new InputError(`${dir}: ${name}: expected [${slot.shape}], got [${tensor.shape}]`);
      } else {
        viewSlot(arenas.parameters, slot).data.set(tensor.data);
        seen.add(ours);
      }
    }
    const missing = [...arenas.layout.slots.keys()].find((name) => isPublished(name) && !seen.has(name));
    if (missing) throw new InputError(`${dir}: no tensor is called ${missing}`);
  } finally {
    checkpoint.dispose();
  }
  return untouched;
}
