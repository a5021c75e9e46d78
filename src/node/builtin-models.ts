/** Models that come with the package. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fileExists } from './files.js';

/** Names that `loadModel` takes beside directories and hub ids. */
export const builtinModels = ['clip-nano'] as const;
export type BuiltinModel = (typeof builtinModels)[number];

/** The folder of a built-in model: `models/` at the package's root, above `dist/src/node` or `src/node`. */
export function builtinFolder(name: BuiltinModel): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const folders = ['../../models', '../../../models'].map((up) => join(here, up, name));
  return folders.find((folder) => fileExists(join(folder, 'vocab.json'))) ?? folders[1];
}

/** The folder of the built-in model of this name; undefined for other names. */
export function findBuiltin(name: string): string | undefined {
  const known = builtinModels.find((each) => each === name);
  return known && builtinFolder(known);
}
