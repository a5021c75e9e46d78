/** `varyclip serve`: models, routes and a port, from loading to draining. */
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type Server } from 'node:http';
import { basename } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { type Logger, pino } from 'pino';
import { InputError } from '../core/errors.js';
import type { EngineOptions } from '../infer/engine.js';
import { directoryExists } from '../node/files.js';
import { type LoadOptions, loadModel } from '../node/load-model.js';
import { createPreparePool } from '../node/prepare-pool.js';
import { modelOfIndex, openIndex } from '../node/search/picture-index.js';
import { createApp } from './app.js';
import { createBodyReader } from './body-reader.js';
import { type LimitName, limitsWith } from './limits.js';
import { createMetrics } from './metrics.js';
import { requestFields } from './schemas.js';
import type { ServedModel, ServerState } from './state.js';

export interface ServerOptions {
  /** Names as `loadModel` takes them. A directory is served under its own name. */
  readonly models: readonly string[];
  /** An index to search; its model is loaded with it. */
  readonly index?: string;
  /** Wanted of every request but /health. Default: none. */
  readonly apiKey?: string;
  /** Hosts that images may be fetched from. Default: none. */
  readonly allowedHosts?: readonly string[];
  readonly limits?: { readonly [K in LimitName]?: number };
  /** How the models are loaded. */
  readonly load?: Omit<LoadOptions, 'engine'>;
  readonly engine?: Pick<EngineOptions, 'slots'>;
  /** Threads that decode images. Default 1. */
  readonly imageThreads?: number;
  /** Default: to standard error, one JSON document a line. */
  readonly log?: Logger;
  /** Only for tests: how URLs are fetched. */
  readonly fetchOptions?: ServerState['fetchOptions'];
}

export interface VaryclipServer {
  readonly app: Hono;
  /** What the routes see. */
  readonly state: ServerState;
  /** Settled when the models are there. Throws what loading throws. */
  readonly loaded: Promise<void>;
  /** Takes requests; they are answered 503 until the models are there. Returns where. */
  listen(where?: { readonly host?: string; readonly port?: number }): Promise<{ readonly url: string }>;
  /** No new requests; those that are there have `drainSeconds` to end. Then everything is let go of. */
  close(): Promise<void>;
}

/** A server whose models are being loaded. */
export function createServer(options: ServerOptions): VaryclipServer {
  const limits = limitsWith(options.limits);
  const log = options.log ?? pino({ base: null }, pino.destination({ dest: 2, sync: true }));
  const fields = requestFields(limits);
  const state: ServerState = {
    phase: 'loading',
    models: [],
    index: undefined,
    limits,
    fields,
    apiKey: options.apiKey,
    bodies: createBodyReader(fields, limits),
    prepare: createPreparePool({
      threads: options.imageThreads ?? 1,
      limits: {
        maxPixels: limits.maxPixels,
        maxBytes: Math.max(limits.maxImageBytes, limits.maxBodyBytes),
        maxFrames: limits.maxFrames,
        timeout: limits.decodeSeconds,
      },
      timeLimit: limits.decodeSeconds,
    }),
    fetchOptions: { allowedHosts: options.allowedHosts ?? [], ...options.fetchOptions },
    metrics: createMetrics(),
    loopDelay: monitorEventLoopDelay({ resolution: 5 }),
    log,
    active: 0,
    bodyBytes: 0,
  };
  state.loopDelay.enable();
  const app = createApp(state, packageVersion());
  const loaded = loadAll(state, options);
  loaded.catch(() => undefined);
  let http: Server | undefined;
  let closing: Promise<void> | undefined;
  return {
    app,
    state,
    loaded,
    listen: async ({ host = '127.0.0.1', port = 8000 } = {}) => {
      http = httpServer(app, state);
      const url = await listenOn(http, host, port);
      log.info({ url }, 'listening');
      return { url };
    },
    close: () => {
      closing ??= drain(state, http, loaded);
      return closing;
    },
  };
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function loadAll(state: ServerState, { models: names, index, load, engine }: ServerOptions): Promise<void> {
  const created = Math.floor(Date.now() / 1000);
  const models: ServedModel[] = [];
  const add = async (name: string): Promise<ServedModel> => {
    const id = directoryExists(name) ? basename(name) : name;
    if (models.some((other) => other.id === id)) throw new InputError(`serve: two models have the name ${id}`);
    const model = await loadModel(name, { ...load, engine: { ...engine, maxWaiting: state.limits.maxRequests } });
    if (model.kind === 'opt') {
      await model.dispose();
      throw new InputError(`${name}: is an opt checkpoint, which neither reads nor embeds images`);
    }
    const served: ServedModel = { id, created, model };
    models.push(served);
    // Whatever happens later, those that are loaded are let go of in the end.
    state.models = [...models];
    // Now, and not at the first request: others would wait for it too.
    await model.compile();
    return served;
  };
  for (const name of names) await add(name);
  if (index !== undefined) {
    const name = modelOfIndex(index);
    if (name === undefined)
      throw new InputError(`${index}: there is no index; make one: varyclip index FOLDER --out ${index}`);
    const known = models.find(({ model }) => model.kind === 'clip' && model.source === name) ?? (await add(name));
    if (known.model.kind !== 'clip') throw new InputError(`${name}: is not a model that an index is made with`);
    state.index = { index: await openIndex(index, { model: known.model }), model: known.model };
    await state.index.index.compile();
  }
  if (state.phase === 'loading') state.phase = 'ready';
  state.log.info({ models: models.map(({ id }) => id) }, 'ready');
}

function httpServer(app: Hono, { limits }: ServerState): Server {
  const server = createHttpServer(
    {
      headersTimeout: 1000 * limits.headerSeconds,
      requestTimeout: 1000 * limits.bodySeconds,
      keepAliveTimeout: 1000 * limits.idleSeconds,
      connectionsCheckingInterval: 2000,
      maxHeaderSize: 16 << 10,
    },
    getRequestListener(app.fetch),
  );
  server.maxConnections = limits.maxConnections;
  server.maxHeadersCount = 100;
  return server;
}

function listenOn(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new InputError(`serve: cannot listen on ${host}:${port}: ${cause.message}`, { cause })),
    );
    server.listen(port, host, () => {
      const address = server.address();
      const actual = typeof address === 'object' && address ? address.port : port;
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`);
    });
  });
}

async function drain(state: ServerState, http: Server | undefined, loaded: Promise<void>): Promise<void> {
  const { log, limits } = state;
  state.phase = 'draining';
  log.info({ active: state.active }, 'draining');
  await loaded.catch(() => undefined);
  if (http) await closeHttp(http, limits.drainSeconds);
  await state.index?.index.dispose();
  for (const { model } of state.models) await model.dispose();
  await state.prepare.dispose();
  await state.bodies.dispose();
  state.loopDelay.disable();
  log.info('stopped');
}

/** Lets requests end; what has not ended in time is cut. */
function closeHttp(http: Server, seconds: number): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(() => http.closeAllConnections(), 1000 * seconds);
    // A connection rests when its last answer is out: that may be at any time.
    const resting = setInterval(() => http.closeIdleConnections(), 50);
    http.close(() => {
      clearTimeout(late);
      clearInterval(resting);
      resolve();
    });
  });
}
