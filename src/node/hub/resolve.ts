import { InputError } from '../../core/errors.js';
import { findBuiltin } from '../builtin-models.js';
import { directoryExists, fileExists } from '../files.js';
import { defaultRevision, findSnapshot, isModelId } from './cache.js';
import { pullModel } from './pull.js';
import type { HubSettings } from './settings.js';

export interface ResolveOptions {
  readonly settings: HubSettings;
  readonly revision?: string;
  /** False downloads what the cache lacks. Default true: nothing is downloaded unasked. */
  readonly offline?: boolean;
}

/**
 * Where the model of that name is: the path itself, the folder of a built-in model, or a snapshot in the hub's cache. Throws InputError naming the command that
 * downloads it where it is in neither.
 */
export async function resolveModel(name: string, options: ResolveOptions): Promise<string> {
  const { settings, revision, offline = true } = options;
  if (directoryExists(name) || fileExists(name)) return name;
  const builtin = findBuiltin(name);
  if (builtin !== undefined) return builtin;
  if (!isModelId(name)) throw new InputError(`${name}: there is no such checkpoint directory`);
  const found = findSnapshot(settings.cacheDir, name, revision);
  if (found) return found;
  if (!offline && !settings.offline) return (await pullModel(name, options)).directory;
  const pinned = revision === undefined ? '' : ` --revision ${revision}`;
  throw new InputError(
    `${name}: there is no such directory, and the cache ${settings.cacheDir} has no ${revision ?? defaultRevision} of it; download it with: varyclip pull ${name}${pinned}`,
  );
}
