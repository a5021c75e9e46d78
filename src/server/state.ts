/** What a server has: models, an index, limits, and whether it takes requests. */
import type { IntervalHistogram } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { InputError } from '../core/errors.js';
import { type FetchImageOptions, fetchImage } from '../node/fetch-image.js';
import type { NodeClipModel } from '../node/load-clip.js';
import type { NodeVaryModel } from '../node/load-model.js';
import type { PreparePool } from '../node/prepare-pool.js';
import type { PictureIndex } from '../node/search/picture-index.js';
import { HttpError } from './answers.js';
import type { BodyReader } from './body-reader.js';
import type { ServerLimits } from './limits.js';
import type { Metrics } from './metrics.js';
import type { ImageSource, RequestFields } from './schemas.js';

export interface ServedModel {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: NodeVaryModel | NodeClipModel;
}

export type ServerPhase = 'loading' | 'ready' | 'draining';

/** What the index is asked with: its model's id. */
export interface ServedIndex {
  readonly index: PictureIndex;
  readonly model: NodeClipModel;
}

export interface ServerState {
  phase: ServerPhase;
  models: readonly ServedModel[];
  index: ServedIndex | undefined;
  readonly limits: ServerLimits;
  /** The bodies of all routes that take JSON. */
  readonly fields: RequestFields;
  readonly apiKey: string | undefined;
  /** Where it listens: the host as it was given, and whether only this machine reaches it. Undefined for a program's own `app`. */
  place: { readonly host: string; readonly onLoopback: boolean } | undefined;
  readonly bodies: BodyReader;
  readonly prepare: PreparePool;
  readonly fetchOptions: Pick<FetchImageOptions, 'allowedHosts' | 'resolve' | 'allowAddress' | 'connect'>;
  readonly metrics: Metrics;
  /** Pauses of the event loop, in nanoseconds. */
  readonly loopDelay: IntervalHistogram;
  readonly log: Logger;
  /** Requests that are worked on. */
  active: number;
  /** Bytes of bodies that are here. */
  bodyBytes: number;
}

/** The model of that name. Throws HttpError 404. */
export function modelOf({ models }: ServerState, id: string): ServedModel {
  const found = models.find((model) => model.id === id);
  if (found) return found;
  throw new HttpError(404, 'model_not_found', `there is no model ${id.slice(0, 100)}; GET /v1/models lists them`);
}

/** The model of a request; where it names none, the first of the kind. Throws HttpError 404, InputError for another kind. */
export function modelFor<K extends 'vary' | 'clip'>(
  state: ServerState,
  kind: K,
  id: string | undefined,
): { readonly id: string; readonly model: K extends 'vary' ? NodeVaryModel : NodeClipModel } {
  const found = id === undefined ? state.models.find(({ model }) => model.kind === kind) : modelOf(state, id);
  if (!found) {
    const does = kind === 'vary' ? 'reads' : 'embeds';
    throw new HttpError(404, 'model_not_found', `no model here ${does}; GET /v1/models lists them`);
  }
  if (found.model.kind !== kind) {
    const does = kind === 'vary' ? 'read or chat' : 'embed, classify or search';
    throw new InputError(`the model ${found.id} does not ${does}; GET /v1/models lists the others`);
  }
  return found as never;
}

/** The bytes of an image that a request has or names. */
export async function imageBytes(
  { limits, fetchOptions }: ServerState,
  image: ImageSource,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (typeof image !== 'string') return image;
  return fetchImage(image, {
    ...fetchOptions,
    signal,
    maxBytes: limits.maxImageBytes,
    seconds: limits.fetchSeconds,
  });
}
