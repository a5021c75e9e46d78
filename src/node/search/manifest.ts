import { join, relative, resolve, sep } from 'node:path';
import { InputError } from '../../core/errors.js';
import { asObject } from '../../core/json.js';
import { writeTextAtomic } from '../atomic.js';
import { readJson } from '../files.js';
import { type Identity, identityFrom } from './identity.js';
import { type StoreChoice, storeChoiceFrom } from './open-store.js';

/** What an index is: `index.json`, written once. */
export interface IndexManifest {
  readonly identity: Identity;
  /** The folder of the pictures, absolute. Kept relative to the index, so that both can be moved together. */
  readonly root: string;
  /** Where the model was loaded from. */
  readonly model: string;
  readonly store: StoreChoice;
}

const manifestFile = 'index.json';
const format = 'varyclip index';
const version = 1;

/** The manifest in a directory, or undefined where there is no index. Throws InputError where it is damaged or newer than this. */
export function readManifest(dir: string): IndexManifest | undefined {
  const stored = readJson(dir, manifestFile);
  if (stored === undefined) return undefined;
  const where = join(dir, manifestFile);
  const json = asObject(stored, where);
  if (json['format'] !== format || json['version'] !== version) {
    throw new InputError(
      `${where}: expected format ${format}, version ${version}, got ${JSON.stringify(json['format'])}, version ${JSON.stringify(json['version'])}`,
    );
  }
  if (json['byteOrder'] !== 'little') {
    throw new InputError(`${where}: byteOrder: expected little, got ${JSON.stringify(json['byteOrder'])}`);
  }
  const [root, model] = ['root', 'model'].map((name) => {
    if (typeof json[name] === 'string') return json[name] as string;
    throw new InputError(`${where}: ${name}: expected a path, got ${JSON.stringify(json[name])}`);
  });
  return {
    identity: identityFrom(json['identity'], `${where}: identity`),
    root: resolve(dir, root),
    model,
    store: storeChoiceFrom(json['store'], `${where}: store`),
  };
}

export function writeManifest(dir: string, { root, ...rest }: IndexManifest): void {
  if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
    throw new InputError(`${dir}: indexes are files of little-endian machines; this one is not`);
  }
  const shown = relative(resolve(dir), resolve(root)).split(sep).join('/') || '.';
  const json = { format, version, byteOrder: 'little', root: shown, ...rest };
  writeTextAtomic(join(dir, manifestFile), `${JSON.stringify(json, null, 2)}\n`);
}
