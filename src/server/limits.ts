/** Every limit of the server, as one table: what the options are called, what they are by default, and what they mean. */
import { InputError } from '../core/errors.js';
import { mostSeconds } from '../core/timers.js';

interface Limit {
  readonly value: number;
  readonly help: string;
}

export type LimitName =
  | 'maxBodyBytes'
  | 'maxWaitingBytes'
  | 'maxImageBytes'
  | 'maxPixels'
  | 'maxFrames'
  | 'parseSeconds'
  | 'decodeSeconds'
  | 'fetchSeconds'
  | 'maxInputs'
  | 'maxTextLength'
  | 'maxPromptLength'
  | 'maxTokens'
  | 'maxRequests'
  | 'deadlineSeconds'
  | 'maxConnections'
  | 'headerSeconds'
  | 'bodySeconds'
  | 'idleSeconds'
  | 'stallSeconds'
  | 'drainSeconds';

export const limitTable: Readonly<Record<LimitName, Limit>> = {
  maxBodyBytes: { value: 16 << 20, help: 'bytes of a request body' },
  maxWaitingBytes: { value: 512 << 20, help: 'bytes of all bodies that are being received or worked on' },
  maxImageBytes: { value: 16 << 20, help: 'bytes of an image that is fetched' },
  maxPixels: { value: 64_000_000, help: 'pixels of an image' },
  maxFrames: { value: 100, help: 'frames of an image file; the first is read' },
  parseSeconds: { value: 10, help: 'seconds for parsing a body' },
  decodeSeconds: { value: 20, help: 'seconds for decoding an image and making it ready' },
  fetchSeconds: { value: 10, help: 'seconds for fetching an image' },
  maxInputs: { value: 64, help: 'texts, images or labels of a request' },
  maxTextLength: {
    value: 1024,
    help: 'characters of a text to embed, a label in its template, a stop string, or conditions',
  },
  maxPromptLength: { value: 8192, help: 'characters of an instruction, of all messages together' },
  maxTokens: { value: 4096, help: 'tokens an answer may be asked to have' },
  maxRequests: { value: 64, help: 'requests that are worked on at once; more are answered 429' },
  deadlineSeconds: { value: 300, help: 'seconds for a request, waiting included' },
  maxConnections: { value: 4096, help: 'open connections' },
  headerSeconds: { value: 10, help: 'seconds for the head of a request' },
  bodySeconds: { value: 60, help: 'seconds for a whole request to arrive' },
  idleSeconds: { value: 5, help: 'seconds a connection may rest between requests' },
  stallSeconds: { value: 30, help: 'seconds a reader of a stream may take nothing' },
  drainSeconds: { value: 30, help: 'seconds that requests have to end when the server stops' },
};

export type ServerLimits = { readonly [K in LimitName]: number };

export const limitNames: readonly LimitName[] = Object.keys(limitTable) as LimitName[];

/** The defaults with changes. Throws InputError for a change that is no limit. */
export function limitsWith(changes: { readonly [K in LimitName]?: number } = {}): ServerLimits {
  const entries = limitNames.map((name) => {
    const value = changes[name] ?? limitTable[name].value;
    const most = name.endsWith('Seconds') ? mostSeconds : Number.MAX_SAFE_INTEGER;
    if (!(value >= 0 && value <= most)) throw new InputError(`${name}: expected from 0 to ${most}, got ${value}`);
    return [name, value] as const;
  });
  return Object.fromEntries(entries) as ServerLimits;
}
