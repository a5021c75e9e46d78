import { readFileSync } from 'node:fs';
import { InputError, messageOf } from '../core/errors.js';
import type { Arguments, OptionSpecs } from './arguments.js';

/** What every command that opens an index takes. */
export const storeOptions: OptionSpecs = {
  'api-key-file': { type: 'string', value: 'FILE', help: 'a file with the key of a Qdrant server' },
};

/** The key in the file that is named. Throws InputError where it cannot be read. */
export function apiKeyOf(args: Arguments): { readonly apiKey?: string } {
  const file = args.text('api-key-file');
  if (file === undefined) return {};
  try {
    return { apiKey: readFileSync(file, 'utf8').trim() };
  } catch (cause) {
    throw new InputError(`--api-key-file: ${messageOf(cause)}`, { cause });
  }
}
