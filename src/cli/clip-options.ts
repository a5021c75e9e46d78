import { InputError } from '../core/errors.js';
import { defaultTwoTowers } from '../node/builtin-models.js';
import type { NodeClipModel } from '../node/load-clip.js';
import { loadModel } from '../node/load-model.js';
import type { Arguments, OptionSpecs } from './arguments.js';
import { loadOptionsOf } from './load-options.js';

/** What every command with a CLIP model takes. */
export const clipOptions: OptionSpecs = {
  model: {
    type: 'string',
    short: 'm',
    value: 'DIR',
    reads: true,
    help: 'checkpoint directory, org/name that was pulled, or a .pt file of OpenAI (clip-nano, which comes with varyclip)',
  },
  precision: { type: 'string', value: 'float32|int8|int4', help: 'of the weights (float32)' },
  threads: { type: 'string', short: 't', value: 'N', help: 'threads (all cores)' },
  device: { type: 'string', value: 'cpu|cuda|webgpu', help: 'where to run (cpu)' },
  truncate: { type: 'boolean', help: 'cut texts that are too long, instead of refusing them' },
};

/** Opens the model that the options name, else `other`, else the built-in one. Throws InputError for one that is not of CLIP's family. */
export async function openClipModel(command: string, args: Arguments, other?: string): Promise<NodeClipModel> {
  const dir = args.text('model') ?? other ?? defaultTwoTowers;
  const model = await loadModel(dir, loadOptionsOf(args));
  if (model.kind === 'clip') return model;
  await model.dispose();
  throw new InputError(`${dir}: is a ${model.kind} checkpoint; ${command} needs CLIP or SigLIP`);
}
