/** `varyclip serve`: models, routes and a port, from loading to draining. */
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { type Logger, pino } from 'pino';
import { AbortedError, InputError } from '../core/errors.js';
import { returnFreedMemory } from '../node/ort/memory.js';
import { createPreparePool } from '../node/prepare-pool.js';
import { createApp } from './app.js';
import { createBodyReader } from './body-reader.js';
import { type LimitName, limitsWith } from './limits.js';
import { findModels, loadAll, type ModelOptions } from './load-models.js';
import { createMetrics } from './metrics.js';
import { bracketed, expectHost, isLoopback } from './own-host.js';
import { requestFields } from './schemas.js';
import type { ServerState } from './state.js';

export interface ServerOptions extends ModelOptions {
  /** Wanted of every request but /health. Default: none. */
  readonly apiKey?: string;
  /** Hosts that images may be fetched from. Default: none. */
  readonly allowedHosts?: readonly string[];
  readonly limits?: { readonly [K in LimitName]?: number };
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
  /**
   * Takes requests; they are answered 503 until the models are there. Returns where. Throws InputError where it cannot listen, or there
   * is no such model.
   */
  listen(where?: { readonly host?: string; readonly port?: number }): Promise<{ readonly url: string }>;
  /** No new requests; those that are there have `drainSeconds` to end. Then everything is let go of. */
  close(): Promise<void>;
}

/** How often memory that threads have freed goes back to the system: each keeps its own, and what runs of ever other shapes leave adds up. */
const trimSeconds = 5;

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
    place: undefined,
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
  const trimming = setInterval(() => void returnFreedMemory(), 1000 * trimSeconds).unref();
  const app = createApp(state, packageVersion());
  const found = findModels(options);
  const loaded = found.then((models) => loadAll(state, options, models));
  loaded.catch(() => undefined);
  let http: Server | undefined;
  let closing: Promise<void> | undefined;
  return {
    app,
    state,
    loaded,
    listen: async ({ host = '127.0.0.1', port = 8000 } = {}) => {
      expectHost(host, 'host');
      // A server that never could answer does not say first where it listens.
      await found;
      if (closing) throw new AbortedError('the server was closed before it listened');
      http = httpServer(app, state);
      const { url, address } = await listenOn(http, host, port);
      state.place = { host, onLoopback: isLoopback(address) };
      log.info({ url }, 'listening');
      return { url };
    },
    close: () => {
      clearInterval(trimming);
      closing ??= drain(state, http, loaded);
      return closing;
    },
  };
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
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
    // Requests of HTTP/1.0 need not say a host; probes of load balancers do not.
    getRequestListener(app.fetch, { hostname: 'localhost' }),
  );
  server.maxConnections = limits.maxConnections;
  server.maxHeadersCount = 100;
  return server;
}

function listenOn(
  server: Server,
  host: string,
  port: number,
): Promise<{ readonly url: string; readonly address: string }> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new InputError(`serve: cannot listen on ${host}:${port}: ${cause.message}`, { cause })),
    );
    server.listen(port, host, () => {
      const { address, port: actual } = server.address() as AddressInfo;
      resolve({ url: `http://${bracketed(host)}:${actual}`, address });
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
