/** Models that come with the package. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError } from '../core/errors.js';
import { directoryExists, fileExists } from './files.js';

/** Names that `loadModel` takes beside directories and hub ids. */
export const builtinModels = ['vary-nano', 'clip-nano'] as const;
export type BuiltinModel = (typeof builtinModels)[number];

/** What reads where no other model is named, and what compares pictures with texts. */
export const defaultReader: BuiltinModel = 'vary-nano';
export const defaultTwoTowers: BuiltinModel = 'clip-nano';

/** `models/` at the package's root, above `dist/src/node` or `src/node`. */
function packagedModels(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const roots = ['../../models', '../../../models'].map((up) => join(here, up));
  return roots.find(directoryExists) ?? roots[1];
}

/** The folder of a built-in model; its weights need not be there. */
export function builtinFolder(name: BuiltinModel, root: string = packagedModels()): string {
  return join(root, name);
}

/** The folder of the built-in model of this name; undefined for other names. Throws InputError where the model is not there. */
export function findBuiltin(name: string, root?: string): string | undefined {
  const known = builtinModels.find((each) => each === name);
  if (known === undefined) return undefined;
  const folder = builtinFolder(known, root);
  const missing = ['config.json', 'model.safetensors'].find((file) => !fileExists(join(folder, file)));
  if (missing === undefined) return folder;
  throw new InputError(
    `${name}: this copy of varyclip comes without the built-in model (${folder} has no ${missing}); name a checkpoint: --model DIR`,
  );
}
