import { homedir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../../core/errors.js';

/** Where models come from and where they are kept. */
export interface HubSettings {
  /** The cache's root, which holds `models--org--name`. */
  readonly cacheDir: string;
  /** The hub's address without a slash at the end; undefined for the public one. */
  readonly endpoint: string | undefined;
  readonly token: string | undefined;
  /** Never use the network. */
  readonly offline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The settings that Hugging Face's own libraries take from the environment: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_ENDPOINT,
 * HF_TOKEN, HF_HUB_OFFLINE. Empty is the same as unset. Throws InputError for an endpoint that is not a web address.
 */
export function hubSettings(environment: Environment): HubSettings {
  const get = (name: string) => environment[name]?.trim() || undefined;
  const home = get('HF_HOME') ?? join(get('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface');
  return {
    cacheDir: get('HF_HUB_CACHE') ?? join(home, 'hub'),
    endpoint: endpointFrom(get('HF_ENDPOINT')),
    token: get('HF_TOKEN'),
    offline: /^(1|on|yes|true)$/i.test(get('HF_HUB_OFFLINE') ?? ''),
  };
}

function endpointFrom(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  if (URL.canParse(given) && /^https?:$/.test(new URL(given).protocol)) return given.replace(/\/+$/, '');
  throw new InputError(`HF_ENDPOINT: expected an address that starts with http:// or https://, got ${given}`);
}
