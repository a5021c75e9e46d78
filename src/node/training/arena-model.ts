import { createVaryModel, type VaryModel } from '../../infer/model.js';
import { varyFamily } from '../../models/graphs.js';
import { withoutDraft } from '../../models/vary.js';
import { type Arenas, arenaLoader } from '../../train/arena.js';
import type { Start } from './kind.js';

/** A model of the parameters as they are now: each of its graphs takes a copy when it is first needed. Dispose of it. */
export function arenaModel({ config, runtime, tokenizer, imageTokens }: Start, arenas: Arenas): VaryModel {
  return createVaryModel({
    family: varyFamily(withoutDraft(config)),
    runtime,
    weights: arenaLoader(arenas),
    precision: 'float32',
    tokenizer,
    imageTokens,
    close: () => undefined,
  });
}
