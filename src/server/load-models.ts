/** Which models a server has: all of them are found before any is loaded. */
import { basename, resolve } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { AbortedError, InputError } from '../core/errors.js';
import type { EngineOptions } from '../infer/engine.js';
import { directoryExists } from '../node/files.js';
import { resolveModel } from '../node/hub/resolve.js';
import { hubSettings } from '../node/hub/settings.js';
import { isClipPath } from '../node/load-clip.js';
import { familyOf, type LoadOptions, loadModel } from '../node/load-model.js';
import { modelOfIndex, openIndex } from '../node/search/picture-index.js';
import type { ServedModel, ServerState } from './state.js';

export interface ModelOptions {
  /** Names as `loadModel` takes them. A directory is served under its own name. */
  readonly models: readonly string[];
  /** An index to search; its model is loaded with it. */
  readonly index?: string;
  /** How the models are loaded. */
  readonly load?: Omit<LoadOptions, 'engine'>;
  readonly engine?: Pick<EngineOptions, 'slots'>;
}

interface FoundModel {
  readonly id: string;
  readonly name: string;
  /** Where it is: what an index knows its model by. */
  readonly source: string;
  readonly kind: ServedModel['model']['kind'];
}

/** What there is to load, and which of it the index is asked with. */
export interface FoundModels {
  readonly found: readonly FoundModel[];
  readonly asks: FoundModel | undefined;
}

/** Looks for what is to be loaded. Throws InputError for what could not be served. */
export async function findModels({ models: names, index, load }: ModelOptions): Promise<FoundModels> {
  const found: FoundModel[] = [];
  const add = async (name: string): Promise<FoundModel> => {
    const id = directoryExists(name) ? basename(name) : name;
    if (found.some((other) => other.id === id)) throw new InputError(`serve: two models have the name ${id}`);
    const dir = await resolveModel(name, { ...load, settings: hubSettings(process.env) });
    const kind = isClipPath(dir) ? ('clip' as const) : familyOf(dir).family.kind;
    if (kind === 'opt') throw new InputError(`${name}: is an opt checkpoint, which neither reads nor embeds images`);
    const model: FoundModel = { id, name, source: resolve(dir), kind };
    found.push(model);
    return model;
  };
  for (const name of names) await add(name);
  if (index === undefined) return { found, asks: undefined };
  const name = modelOfIndex(index);
  if (name === undefined)
    throw new InputError(`${index}: there is no index; make one: varyclip index FOLDER --out ${index}`);
  const asks = found.find(({ kind, source }) => kind === 'clip' && source === name) ?? (await add(name));
  if (asks.kind !== 'clip') throw new InputError(`${name}: is not a model that an index is made with`);
  return { found, asks };
}

/** Loads the models and the index into `state`. Throws what is wrong with one, AbortedError where the server is closed meanwhile. */
export async function loadAll(state: ServerState, options: ModelOptions, { found, asks }: FoundModels): Promise<void> {
  const created = Math.floor(Date.now() / 1000);
  const engine = { ...options.engine, maxWaiting: state.limits.maxRequests };
  // A server that cannot listen is closed by then, and has loaded nothing.
  await turn();
  for (const { id, name } of found) {
    expectOpen(state);
    const model = await loadModel(name, { ...options.load, engine });
    // It has been found to be none.
    if (model.kind === 'opt') throw new InputError(`${name}: has changed`);
    // Whatever happens later, those that are loaded are let go of in the end.
    state.models = [...state.models, { id, created, model }];
    expectOpen(state);
    // Now, and not at the first request: others would wait for it too.
    await model.compile();
  }
  const asked = state.models.find(({ id }) => id === asks?.id);
  if (options.index !== undefined && asked?.model.kind === 'clip') {
    expectOpen(state);
    const index = await openIndex(options.index, { model: asked.model });
    state.index = { index, model: asked.model };
    await index.compile();
  }
  expectOpen(state);
  state.phase = 'ready';
  state.log.info({ models: state.models.map(({ id }) => id) }, 'ready');
}

function expectOpen({ phase }: ServerState): void {
  if (phase !== 'loading') throw new AbortedError('the server was closed while it loaded');
}
