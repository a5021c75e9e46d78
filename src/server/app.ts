/** The routes, without a port: `app.request(...)` answers. */
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { AbortedError, InputError } from '../core/errors.js';
import { expectKnown } from '../core/fields.js';
import { mostRetries } from '../infer/retries.js';
import { answerOf, HttpError, sendError } from './answers.js';
import { receiveBody } from './body.js';
import type { ServerLimits } from './limits.js';
import type { GaugeValue } from './metrics.js';
import { openApiDocument } from './open-api.js';
import { expectOwnHost } from './own-host.js';
import { answerPageFile, findPageFiles } from './page-files.js';
import { answerClassify, answerEmbeddings, answerSearch } from './picture-routes.js';
import { answerChat, answerRead, type ReadRequest, type Work } from './read-routes.js';
import { expectLength, type RequestFields, type RequestOf } from './schemas.js';
import { modelOf, type ServerState } from './state.js';
import { closeUnread } from './unread-body.js';

/** The server's routes over `state`. */
export function createApp(state: ServerState, version: string): Hono {
  const app = new Hono();
  app.use('*', async (c, next) => {
    await next();
    await closeUnread(c);
  });
  app.use('*', async (c, next) => logged(state, c, () => patternOf(app, c.req.path) ?? 'other', next));
  app.get('/health', (c) => {
    const status = state.phase === 'ready' ? 'ok' : state.phase;
    return c.json({ status }, state.phase === 'ready' ? 200 : 503);
  });
  app.use('*', async (c, next) => {
    expectOwnHost(c, state);
    await next();
  });
  const page = findPageFiles();
  app.use('*', async (c, next) => {
    const file = ['GET', 'HEAD'].includes(c.req.method) ? await answerPageFile(page, c) : undefined;
    if (file) return file;
    await next();
    return undefined;
  });
  app.use('*', async (c, next) => {
    if (state.apiKey !== undefined && !hasKey(c, state.apiKey)) {
      throw new HttpError(401, 'invalid_api_key', 'give the key as Authorization: Bearer KEY, or as X-Api-Key');
    }
    await next();
  });
  app.get('/v1/models', (c) => c.json({ object: 'list', data: state.models.map(describeModel) }));
  // With slashes: a hub model is called org/name.
  app.get('/v1/models/:id{.+}', (c) => c.json(describeModel(modelOf(state, c.req.param('id')))));
  app.get('/metrics', (c) => c.text(state.metrics.render(gaugesOf(state)), 200, metricsType));
  app.get('/openapi.json', (c) => c.json(openApiDocument(state.fields, state.limits, version)));
  const post = <K extends keyof RequestFields>(
    path: string,
    name: K,
    answer: (state: ServerState, body: RequestOf<K>, work: Work) => Promise<Response>,
  ) =>
    app.post(path, (c) =>
      withBody(state, c, async (bytes, work) => answer(state, await state.bodies.json(name, bytes), work)),
    );
  post('/v1/chat/completions', 'chat', answerChat);
  post('/v1/embeddings', 'embeddings', answerEmbeddings);
  post('/v1/search', 'search', answerSearch);
  app.post('/v1/classify', (c) =>
    withBody(state, c, async (bytes, work) => {
      const type = formTypeOf(c);
      const request = await (type ? state.bodies.classifyForm(type, bytes) : state.bodies.json('classify', bytes));
      return answerClassify(state, request, work);
    }),
  );
  app.post('/v1/read', (c) =>
    withBody(state, c, async (bytes, work) => answerRead(state, await readRequestOf(c, bytes, state), work)),
  );
  app.notFound((c) => answerElsewhere(app, c));
  app.onError((error, c) => {
    const answer = answerOf(error);
    state.metrics.add('request_failure_total', { status: String(answer.status) });
    if (answer.status === 500) state.log.error({ err: error }, 'a request failed');
    return sendError(c, answer);
  });
  return app;
}

const metricsType = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' };

/** One line per request: neither what was asked nor who asked it. */
async function logged(
  { log }: ServerState,
  c: Context,
  routeOf: () => string,
  next: () => Promise<void>,
): Promise<void> {
  const started = performance.now();
  const id = randomUUID();
  c.header('X-Request-Id', id);
  await next();
  const milliseconds = Math.round(performance.now() - started);
  // The route's pattern, not the path: a path may have anything in it.
  log.info({ id, method: c.req.method, route: routeOf(), status: c.res.status, milliseconds }, 'request');
}

/** The pattern of the route that a path is one of, whatever the method; undefined where there is none. */
function patternOf(app: Hono, path: string): string | undefined {
  const isOf = (pattern: string) =>
    pattern.includes(':')
      ? path.length > pattern.indexOf(':') && path.startsWith(pattern.split(':')[0])
      : pattern === path;
  return app.routes.find(({ path: pattern, method }) => method !== 'ALL' && isOf(pattern))?.path;
}

/** A path that has other methods says which; every other one is nothing. */
function answerElsewhere(app: Hono, c: Context): Response {
  const pattern = patternOf(app, c.req.path);
  if (pattern === undefined) throw new HttpError(404, 'not_found', 'there is nothing here: GET /openapi.json');
  const own = app.routes.filter(({ path }) => path === pattern).map(({ method }) => method);
  const allowed = [...own, ...(own.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
  c.header('Allow', allowed);
  if (c.req.method === 'OPTIONS') return c.body(null, 204);
  throw new HttpError(405, 'method_not_allowed', `${c.req.method} is not among what this takes: ${allowed}`);
}

/** Compares in constant time; hashes are of one length. */
function hasKey(c: Context, key: string): boolean {
  const bearer = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
  const given = bearer ?? c.req.header('x-api-key') ?? '';
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(key));
}

function describeModel({ id, created, model }: ServerState['models'][number]) {
  return { id, object: 'model', created, owned_by: 'varyclip', kind: model.kind };
}

function gaugesOf({ models, loopDelay }: ServerState): GaugeValue[] {
  const pause = loopDelay.max / 1e9;
  loopDelay.reset();
  const ofProcess: GaugeValue[] = [
    { name: 'event_loop_delay_max_seconds', labels: {}, value: pause },
    { name: 'resident_memory_bytes', labels: {}, value: process.memoryUsage.rss() },
  ];
  const ofModels = models.flatMap(({ id, model }): GaugeValue[] => {
    if (model.kind !== 'vary') return [];
    const { running, waiting, usedSlots } = model.load();
    const labels = { model_name: id };
    return [
      { name: 'num_requests_running', labels, value: running },
      { name: 'num_requests_waiting', labels, value: waiting },
      { name: 'slots_used', labels, value: usedSlots },
    ];
  });
  return [...ofProcess, ...ofModels];
}

/** Receives a body, takes a place among the requests that are worked on, and gives it back when the work is done. */
async function withBody(
  state: ServerState,
  c: Context,
  answer: (bytes: Buffer, work: Work) => Promise<Response>,
): Promise<Response> {
  expectReady(state);
  const body = await receiveBody(c.req.raw, state);
  try {
    // Anew: it may have changed while the body came.
    expectReady(state);
    if (state.active >= state.limits.maxRequests) {
      throw new HttpError(429, 'overloaded', `${state.active} requests are worked on, which is as many as may be`);
    }
    state.active++;
    const gone = new AbortController();
    const work: Work = {
      signal: AbortSignal.any([c.req.raw.signal, gone.signal]),
      cancel: () => gone.abort(),
      deadline: performance.now() + 1000 * state.limits.deadlineSeconds,
    };
    try {
      const response = await answer(body.bytes, work);
      if (c.req.raw.signal.aborted) throw new AbortedError('the client went away');
      return response;
    } finally {
      state.active--;
    }
  } finally {
    body.release();
  }
}

function expectReady({ phase }: ServerState): void {
  if (phase === 'loading') throw new HttpError(503, 'loading', 'the models are being loaded');
  if (phase === 'draining') throw new HttpError(503, 'draining', 'the server is stopping');
}

type Setting = (name: string) => string | undefined;

/** What may stand in a form or in the query, beside an image. */
const settingNames = ['model', 'prompt', 'max_tokens', 'retries', 'stream'];

/** The content type of a form; undefined for everything else. */
function formTypeOf(c: Context): string | undefined {
  const type = c.req.header('content-type') ?? '';
  return /^multipart\/form-data/i.test(type) ? type : undefined;
}

/** A form with an image, or an image as it is with the rest in the query. */
async function readRequestOf(c: Context, bytes: Buffer, { limits, bodies }: ServerState): Promise<ReadRequest> {
  const type = formTypeOf(c);
  expectKnown(Object.keys(c.req.query()), settingNames, 'query');
  if (type === undefined) {
    if (bytes.length === 0) throw new InputError('body: expected an image, got nothing');
    return withSettings(bytes, (name) => c.req.query(name), limits);
  }
  const { image, texts } = await bodies.form(type, settingNames, bytes);
  for (const [name, values] of Object.entries(texts)) {
    if (values.length > 1) throw new InputError(`body: ${name}: expected once, got ${values.length} times`);
  }
  return withSettings(image, (name) => texts[name]?.[0] ?? c.req.query(name), limits);
}

function wholeNumber(setting: Setting, name: string, least: number, most: number): number | undefined {
  const given = setting(name);
  if (given === undefined) return undefined;
  const value = /^\d{1,15}$/.test(given.trim()) ? Number(given) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new InputError(`${name}: expected a whole number from ${least} to ${most}, got ${given.slice(0, 40)}`);
}

function withSettings(bytes: Uint8Array, setting: Setting, limits: ServerLimits): ReadRequest {
  const [model, prompt, stream] = ['model', 'prompt', 'stream'].map(setting);
  const [maxTokens, retries] = [
    wholeNumber(setting, 'max_tokens', 1, limits.maxTokens),
    wholeNumber(setting, 'retries', 0, mostRetries),
  ];
  if (stream !== undefined && stream !== 'true' && stream !== 'false') {
    throw new InputError('stream: expected true or false');
  }
  expectLength(prompt ?? '', limits.maxPromptLength, 'prompt');
  return { bytes, model, prompt, maxTokens, retries, stream: stream === 'true' };
}
