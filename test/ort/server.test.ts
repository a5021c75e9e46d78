import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import OpenAI from 'openai';
import sharp from 'sharp';
import { loadModel, type NodeClipModel, openIndex } from '../../src/index.js';
import type { NodeVaryModel } from '../../src/node/load-model.js';
import { assertAllclose } from '../helpers/allclose.js';
import { strip, tiffOf } from '../helpers/bulk.js';
import { startCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { fixturePath } from '../helpers/fixtures.js';
import { pictureFolder } from '../helpers/pictures.js';
import { dataUrl, eventsOf, pageBytes, pageUrl, post, startServer } from '../helpers/server.js';

type Json = Record<string, unknown>;

const reader = fixturePath('vary-tiny/checkpoint');
const clip = withTokenizer('clip/ckpt-modern');
const clipModel = (await loadModel(clip, { threads: 1 })) as NodeClipModel;
const varyModel = (await loadModel(reader, { threads: 1 })) as NodeVaryModel;
const folder = temporaryFolder();
const root = join(folder, 'pictures');
const paths = await pictureFolder(root, 6);
const made = await openIndex(join(folder, 'index'), { model: clipModel, root });
await made.update({ workers: 1 });
await made.dispose();
after(async () => {
  await clipModel.dispose();
  await varyModel.dispose();
});

const key = 'a-secret-key';
const server = startServer({ models: [reader, clip], index: join(folder, 'index'), apiKey: key });
await server.loaded;
const { app } = server;
const clipId = server.state.models[1].id;
const auth = { authorization: `Bearer ${key}` };
const { url } = await server.listen({ port: 0 });
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

const chat = (changes: Json = {}): Json => ({
  model: 'checkpoint',
  messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: pageUrl } }] }],
  max_tokens: 12,
  ...changes,
});
const expected = await varyModel.read(pageBytes, { maxNewTokens: 12 });
const errorOf = async (response: Response) => ((await response.json()) as { error: Json }).error;

test("OpenAI's client: a chat with a picture gives the text that the library gives", async () => {
  const body = chat() as unknown as OpenAI.ChatCompletionCreateParamsNonStreaming;
  const { choices, usage, object, model } = await client.chat.completions.create(body);
  assert.deepEqual([object, model, choices.length], ['chat.completion', 'checkpoint', 1]);
  assert.equal(choices[0].message.content, expected.text);
  assert.equal(choices[0].finish_reason, expected.finishReason);
  const { promptTokens, completionTokens } = expected.usage;
  assert.deepEqual(usage, {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  });
});

test("OpenAI's client: streams, with usage at the end", async () => {
  const body = chat({ stream: true, stream_options: { include_usage: true } });
  const stream = await client.chat.completions.create(body as unknown as OpenAI.ChatCompletionCreateParamsStreaming);
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  assert.equal(text, expected.text);
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.at(-2)?.choices[0].finish_reason, expected.finishReason);
  assert.deepEqual(chunks.at(-1)?.choices, []);
  assert.equal(chunks.at(-1)?.usage?.completion_tokens, expected.usage.completionTokens);
  assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
});

test("OpenAI's client: embeddings in base64, as it asks for them, and in numbers", async () => {
  const texts = ['a red square', 'a cat'];
  const wanted = await clipModel.embedTexts(texts);
  const { data } = await client.embeddings.create({ model: clipId, input: texts });
  assertAllclose(
    data.flatMap(({ embedding }) => embedding),
    [...wanted.data],
    { atol: 0, rtol: 0 },
  );
  const plain = await app.request('/v1/embeddings', post({ input: texts[0] }, auth));
  const { data: rows, usage } = (await plain.json()) as { data: { embedding: number[] }[]; usage: Json };
  assert.deepEqual(rows[0].embedding, [...wanted.data.subarray(0, rows[0].embedding.length)]);
  assert.equal(usage['prompt_tokens'], clipModel.tokenizer?.encode(texts[0]).length);
});

test('embeddings of images: as items of the input and as messages', async () => {
  const wanted = await clipModel.embedImages([pageBytes]);
  const ask = async (body: Json) => {
    const response = await app.request('/v1/embeddings', post(body, auth));
    const { data } = (await response.json()) as { data: { embedding: number[] }[] };
    return data.map(({ embedding }) => embedding);
  };
  const [image, text] = await ask({ input: [{ image: pageUrl }, { text: 'a cat' }] });
  assertAllclose(image, [...wanted.data], { atol: 1e-6, rtol: 0 });
  assert.equal(text.length, image.length);
  const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: pageUrl }] }];
  assert.deepEqual(await ask({ messages }), [image]);
});

test('read: raw bytes, a form, and events', async () => {
  const raw = await app.request('/v1/read?max_tokens=12', { method: 'POST', headers: auth, body: pageBytes });
  const body = (await raw.json()) as Json;
  assert.deepEqual([raw.status, body['text'], body['finish_reason']], [200, expected.text, expected.finishReason]);
  assert.deepEqual(body['warnings'], expected.warnings);
  const pages = await tiffOf(await Promise.all([0, 5].map((i) => strip(i, 300))));
  const first = await app.request('/v1/read?max_tokens=4', {
    method: 'POST',
    headers: auth,
    body: new Uint8Array(pages),
  });
  assert.match(((await first.json()) as { warnings: string[] }).warnings[0], /^only page 1 of 2 was read; .*--out DIR/);
  const form = new FormData();
  form.set('image', new Blob([pageBytes], { type: 'image/png' }), 'page.png');
  form.set('max_tokens', '12');
  form.set('stream', 'true');
  const events = await eventsOf(await app.request('/v1/read', { method: 'POST', headers: auth, body: form }));
  assert.equal(events.at(-1), '[DONE]');
  const parsed = events.slice(0, -1).map((event) => JSON.parse(event) as Json);
  assert.equal(parsed.at(-1)?.['text'], expected.text);
  assert.equal(
    parsed
      .slice(0, -1)
      .map((event) => event['text'])
      .join(''),
    expected.text,
  );
});

test('read: a blank page and noise have no text and a warning', async () => {
  for (const [name, image] of [
    ['white', sharp({ create: { width: 200, height: 260, channels: 3, background: '#fff' } })],
    ['black', sharp({ create: { width: 200, height: 260, channels: 3, background: '#000' } })],
    [
      'noise',
      sharp({
        create: {
          width: 200,
          height: 260,
          channels: 3,
          background: '#888',
          noise: { type: 'gaussian', mean: 128, sigma: 60 },
        },
      }),
    ],
  ] as const) {
    const bytes = await image.png().toBuffer();
    const response = await app.request('/v1/read', { method: 'POST', headers: auth, body: bytes });
    const { text, finish_reason, warnings } = (await response.json()) as Json;
    assert.deepEqual([name, text, finish_reason], [name, '', 'blank']);
    assert.deepEqual(warnings, ['no text was found on the page']);
  }
});

test('classify and search give what the library gives', async () => {
  const labels = ['cat', 'dog', 'red square'];
  const classified = await app.request('/v1/classify', post({ image: pageUrl, labels }, auth));
  const wanted = await clipModel.classify(pageBytes, labels);
  const { data } = (await classified.json()) as { data: { label: string; score: number }[] };
  assert.deepEqual(
    data.map(({ label }) => label),
    wanted.map(({ label }) => label),
  );
  assertAllclose(
    data.map(({ score }) => score),
    wanted.map(({ score }) => score),
    { atol: 1e-5, rtol: 0 },
  );
  const picture = dataUrl(await sharp(join(root, paths[3])).png().toBuffer());
  const found = await app.request('/v1/search', post({ image: picture, top: 2 }, auth));
  const hits = ((await found.json()) as { data: Json[] }).data;
  assert.deepEqual([hits.length, hits[0]['path']], [2, paths[3]]);
  assert.ok(!JSON.stringify(hits).includes(root), 'places of this machine stay here');
  const words = await app.request('/v1/search', post({ text: 'a cat', minus: ['a dog'], where: 'width>=1' }, auth));
  assert.equal(((await words.json()) as { data: Json[] }).data.length, 6);
});

test('every route but /health wants the key', async () => {
  const routes = app.routes.filter(({ path, method }) => path !== '*' && path !== '/*' && method !== 'ALL');
  assert.ok(routes.length >= 9);
  for (const { method, path } of [...routes, { method: 'GET', path: '/nothing' }]) {
    const init = method === 'POST' ? post({}) : { method };
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { 'x-api-key': `${key}x` }, { authorization: key }]) {
      const response = await app.request(path, {
        ...init,
        headers: { ...init.headers, ...headers } as Record<string, string>,
      });
      assert.equal(response.status, path === '/health' ? 200 : 401, `${method} ${path}`);
    }
    const open = await app.request(path, {
      ...init,
      headers: { ...init.headers, 'x-api-key': key } as Record<string, string>,
    });
    assert.notEqual(open.status, 401, path);
  }
});

test('what is wrong with a request is said as OpenAI says it', async () => {
  const image = { type: 'image_url', image_url: { url: pageUrl } };
  const user = (...content: Json[]) => ({ messages: [{ role: 'user', content }] });
  const url = (address: string) => ({ ...image, image_url: { url: address } });
  const cases: readonly (readonly [path: string, body: unknown, status: number, message: RegExp])[] = [
    ['/v1/chat/completions', '{"model":', 400, /not JSON/],
    ['/v1/chat/completions', '['.repeat(200_000), 400, /more structure/],
    ['/v1/chat/completions', `"${'\\"'.repeat(200_000)}"`, 400, /more structure/],
    ['/v1/chat/completions', `{"messages": "${'x'.repeat(1_000_000)}"}`, 400, /expected a list/],
    ['/v1/chat/completions', '[]', 400, /expected a JSON object/],
    ['/v1/chat/completions', {}, 400, /messages/],
    ['/v1/chat/completions', chat({ model: 'gpt-9' }), 404, /no model gpt-9/],
    ['/v1/chat/completions', chat({ model: clipId }), 400, /does not read/],
    ['/v1/chat/completions', chat({ n: 2 }), 400, /body: n/],
    ['/v1/chat/completions', chat({ max_tokens: 1e9 }), 400, /max_tokens/],
    ['/v1/chat/completions', chat({ max_tokens: 1.5 }), 400, /max_tokens/],
    ['/v1/chat/completions', chat({ temperature: -1 }), 400, /temperature/],
    ['/v1/chat/completions', chat({ stop: [''] }), 400, /stop/],
    ['/v1/chat/completions', chat({ retries: 3 }), 400, /retries/],
    ['/v1/chat/completions', chat({ stop: 'a'.repeat(2000) }), 400, /stop: expected at most 1024/],
    ['/v1/chat/completions', user(image, { type: 'text', text: 'a'.repeat(9000) }), 400, /at most 8192/],
    ['/v1/chat/completions', { messages: '['.repeat(3) + '['.repeat(70_000) }, 400, /messages: expected a list/],
    [`/v1/read?prompt=${'a'.repeat(9000)}`, pageUrl, 400, /prompt: expected at most 8192 characters, got 9000/],
    ['/v1/read?retries=-1', pageUrl, 400, /retries: expected a whole number from 0 to 2, got -1/],
    ['/v1/chat/completions', user(), 400, /at least 1/],
    ['/v1/chat/completions', user({ type: 'text', text: 'hello' }), 400, /one image_url/],
    ['/v1/chat/completions', user(image, image), 400, /one image_url/],
    ['/v1/chat/completions', user(url('http://127.0.0.1/a.png')), 400, /not allowed/],
    ['/v1/chat/completions', user(url('data:image/png;base64,AAAA')), 400, /not an image/],
    ['/v1/chat/completions', user(url(dataUrl(pageBytes.subarray(0, 300)))), 400, /cannot be decoded|ends inside/],
    ['/v1/embeddings', {}, 400, /input or messages/],
    ['/v1/embeddings', { input: [] }, 400, /at least 1/],
    ['/v1/embeddings', { input: Array(65).fill('a') }, 400, /at most 64/],
    ['/v1/embeddings', { input: 'a'.repeat(1025) }, 400, /at most 1024 characters/],
    ['/v1/classify', { image: pageUrl, labels: ['a'.repeat(2000)] }, 400, /at most 1024/],
    ['/v1/embeddings', { input: 'a', dimensions: 3 }, 400, /dimensions/],
    ['/v1/embeddings', { input: 'a', encoding_format: 'hex' }, 400, /encoding_format/],
    ['/v1/classify', { image: pageUrl, labels: [] }, 400, /labels/],
    ['/v1/classify', { image: pageUrl, labels: ['a'.repeat(99)], template: '{}'.repeat(11) }, 400, /got 1089/],
    ['/v1/classify', { image: pageUrl, labels: ['a', 'b', 'c', 'd', 'e'], template: Array(64).fill('{}') }, 400, /256/],
    ['/v1/search', { text: 'a', where: `path~${'*?'.repeat(600)}` }, 400, /where: expected at most 1024/],
    ['/v1/search', { top: 0, text: 'a' }, 400, /top/],
    ['/v1/search', { text: 'a', where: 'colour=red' }, 400, /colour/],
    ['/v1/read', 'not an image', 400, /image/],
    ['/nothing', {}, 404, /openapi/],
  ];
  for (const [path, body, status, message] of cases) {
    const response = await app.request(path, post(body, auth));
    const error = await errorOf(response);
    assert.equal(response.status, status, `${path} ${JSON.stringify(body).slice(0, 80)}: ${JSON.stringify(error)}`);
    assert.match(String(error['message']), message);
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
  }
  await assert.rejects(client.embeddings.create({ model: 'gpt-9', input: 'a' }), OpenAI.NotFoundError);
  const { state } = server;
  assert.deepEqual([state.active, state.bodyBytes], [0, 0]);
});

test('bombs of bodies and images are refused', async () => {
  const small = startServer({
    models: [reader],
    limits: { maxBodyBytes: 3000, maxPixels: 10_000, maxWaitingBytes: 5000 },
  });
  await small.loaded;
  const read = (body: RequestInit['body']) =>
    small.app.request('/v1/read', { method: 'POST', body, duplex: 'half' } as RequestInit);
  assert.equal((await read(Buffer.alloc(3001))).status, 413);
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      sent += 500;
      controller.enqueue(new Uint8Array(500));
    },
  });
  assert.equal((await read(endless)).status, 413);
  assert.ok(sent < 10_000, 'it is not read to its end');
  const flat = await sharp({ create: { width: 200, height: 200, channels: 3, background: '#fff' } })
    .png()
    .toBuffer();
  assert.ok(flat.length < 3000);
  assert.match(String((await errorOf(await read(flat)))['message']), /200×200 pixels, at most 10000/);
  assert.equal(small.state.bodyBytes, 0);
  const deep = `{"messages":${'['.repeat(1400)}${']'.repeat(1400)}}`;
  assert.equal((await small.app.request('/v1/chat/completions', post(deep))).status, 400);
  const held = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(2900)) });
  const waiting = Promise.resolve(read(held)).catch(() => undefined);
  const second = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(2900)) });
  const refused = await read(second);
  assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1']);
  void waiting;
});

test('an image that takes too long is the request’s fault, and the server goes on', async () => {
  const hasty = startServer({ models: [reader], limits: { decodeSeconds: 0.001 } });
  await hasty.loaded;
  for (let i = 0; i < 2; i++) {
    const response = await hasty.app.request('/v1/chat/completions', post(chat()));
    const { code, message } = await errorOf(response);
    assert.deepEqual([response.status, code], [422, 'took_too_long']);
    assert.match(String(message), /image: took longer than 0.001 s/);
  }
  assert.equal((await hasty.app.request('/health')).status, 200);
});

test('more requests than may be worked on are answered 429; those within are not touched', async () => {
  const small = startServer({ models: [reader], limits: { maxRequests: 2 } });
  await small.loaded;
  const all = await Promise.all(
    Array.from({ length: 6 }, () => small.app.request('/v1/chat/completions', post(chat()))),
  );
  const statuses = all.map(({ status }) => status).sort();
  assert.deepEqual(statuses, [200, 200, 429, 429, 429, 429]);
  for (const response of all) {
    if (response.status === 429) assert.equal(response.headers.get('retry-after'), '1');
    else assert.equal(((await response.json()) as OpenAI.ChatCompletion).choices[0].message.content, expected.text);
  }
  const late = startServer({ models: [reader], limits: { deadlineSeconds: 0 } });
  await late.loaded;
  assert.equal((await late.app.request('/v1/chat/completions', post(chat()))).status, 504);
});

test('a client that goes away frees its place; neighbours get what they get alone', async () => {
  const { model } = server.state.models[0];
  assert.equal(model.kind, 'vary');
  const controllers = Array.from({ length: 4 }, () => new AbortController());
  const long = chat({ max_tokens: 100, stream: true });
  const gone = controllers.map(async ({ signal }, i) => {
    const response = await fetch(`${url}/v1/chat/completions`, { ...post(long, auth), signal });
    const events = response.body?.getReader();
    if (i % 2 === 0) await events?.read();
    controllers[i].abort();
  });
  const neighbour = client.chat.completions.create(chat() as unknown as OpenAI.ChatCompletionCreateParamsNonStreaming);
  await Promise.allSettled(gone);
  assert.equal((await neighbour).choices[0].message.content, expected.text);
  for (let tries = 0; server.state.active > 0 && tries < 200; tries++)
    await new Promise((done) => setTimeout(done, 10));
  assert.equal(server.state.active, 0);
  assert.deepEqual((model as NodeVaryModel).load(), { slots: 8, usedSlots: 0, running: 0, waiting: 0 });
});

test('models, metrics and the OpenAPI document', async () => {
  const models = await client.models.list();
  assert.deepEqual(
    models.data.map(({ id, object }) => [id, object]),
    server.state.models.map(({ id }) => [id, 'model']),
  );
  const metrics = await (await app.request('/metrics', { headers: auth })).text();
  assert.match(metrics, /^varyclip_num_requests_running\{model_name="checkpoint"\} 0$/m);
  assert.match(metrics, /^varyclip_request_success_total\{model_name="checkpoint",finished_reason="length"\} [1-9]/m);
  assert.match(metrics, /^varyclip_time_to_first_token_seconds_bucket\{model_name="checkpoint",le="\+Inf"\} [1-9]/m);
  assert.match(metrics, /^varyclip_generation_tokens_total\{model_name="checkpoint"\} [1-9]/m);
  assert.match(metrics, /^varyclip_request_failure_total\{status="401"\} [1-9]/m);
  const document = (await (await app.request('/openapi.json', { headers: auth })).json()) as { paths: Json };
  const documented = Object.keys(document.paths).sort();
  const routes = app.routes
    .map(({ path }) => path.replace(/:(\w+)\{.*\}/, '{$1}'))
    .filter((path) => !path.includes('*'));
  assert.deepEqual(documented, [...new Set(routes)].sort());
  const text = JSON.stringify(document);
  for (const most of [8192, 1024]) assert.ok(text.includes(`"maxLength":${most}`), `${most} is documented`);
});

test('logs have neither text, nor pictures, nor keys, nor what a path says', async () => {
  await app.request('/secret-in-path?q=secret-in-query', { headers: auth });
  const all = server.logged.join('');
  for (const secret of [key, 'secret-in', pageUrl.slice(30, 60), 'a red square'])
    assert.ok(!all.includes(secret), secret);
  assert.ok(expected.text.length > 3 && !all.includes(expected.text));
  const line = JSON.parse(server.logged.at(-1) as string) as Json;
  assert.deepEqual([line['route'], line['method'], line['status']], ['other', 'GET', 404]);
});

test('a server that loads or drains says so, and lets what it has end', async () => {
  const fresh = startServer({ models: [reader] });
  assert.equal((await fresh.app.request('/health')).status, 503);
  const early = await fresh.app.request('/v1/chat/completions', post(chat()));
  assert.deepEqual([early.status, early.headers.get('retry-after')], [503, '1']);
  await fresh.loaded;
  assert.deepEqual(await (await fresh.app.request('/health')).json(), { status: 'ok' });
  const { url: place } = await fresh.listen({ port: 0 });
  const running = fetch(`${place}/v1/chat/completions`, post(chat({ stream: true, max_tokens: 60 })));
  while (fresh.state.active === 0) await new Promise((done) => setTimeout(done, 2));
  const closed = fresh.close();
  assert.deepEqual(await (await fresh.app.request('/health')).json(), { status: 'draining' });
  assert.equal((await fresh.app.request('/v1/chat/completions', post(chat()))).status, 503);
  assert.equal((await eventsOf(await running)).at(-1), '[DONE]');
  await closed;
});

test('serve: answers on a port, ends on SIGTERM with exit code 0', async () => {
  const { child, done } = startCli(['serve', '--model', reader, '--port', '0', '--threads', '1']);
  const place = await new Promise<string>((resolve) =>
    child.stdout.once('data', (line: Buffer) => resolve(String(line).trim())),
  );
  while ((await fetch(`${place}/health`)).status !== 200) await new Promise((next) => setTimeout(next, 20));
  const running = fetch(`${place}/v1/chat/completions`, post(chat({ max_tokens: 60 })));
  await new Promise((next) => setTimeout(next, 30));
  child.kill('SIGTERM');
  const [response, { code, err }] = await Promise.all([running, done]);
  assert.equal(code, 0, err);
  assert.ok(response.status === 200 || response.status === 503, String(response.status));
});

test('serve: another SIGTERM while the process goes away changes nothing', async () => {
  for (const wait of [0, 10, 25]) {
    const { child, done } = startCli(['serve', '--model', reader, '--port', '0', '--threads', '1']);
    child.stdout.once('data', () => child.kill('SIGTERM'));
    child.stderr.on('data', (lines: Buffer) => {
      if (lines.includes('"stopped"')) setTimeout(() => child.kill('SIGTERM'), wait);
    });
    const { code, err } = await done;
    assert.equal(code, 0, err);
  }
});
