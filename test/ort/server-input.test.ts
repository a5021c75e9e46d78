/** Requests as they should not be, and as clients of other servers write them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import OpenAI from 'openai';
import { withTokenizer } from '../helpers/clip-checkpoints.js';
import { fixturePath } from '../helpers/fixtures.js';
import { pageBytes, pageUrl, post, startServer } from '../helpers/server.js';

type Json = Record<string, unknown>;

const server = startServer({ models: [fixturePath('vary-tiny/checkpoint'), withTokenizer('clip/ckpt-modern')] });
await server.loaded;
const { app } = server;
const { url } = await server.listen({ port: 0 });
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });

const chat = (changes: Json = {}): Json => ({
  messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: pageUrl } }] }],
  max_tokens: 4,
  ...changes,
});
const errorOf = async (response: Response) => ((await response.json()) as { error: Json }).error;

function formOf(fields: Readonly<Record<string, string | readonly string[] | Uint8Array>>): RequestInit {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Uint8Array) body.set(name, new Blob([new Uint8Array(value)]), 'page.png');
    else for (const item of [value].flat()) body.append(name, item);
  }
  return { method: 'POST', body };
}

test('what a reader has not is refused, and what asks for nothing of it is not', async () => {
  const refused: readonly (readonly [Json, RegExp])[] = [
    [{ n: 2 }, /n: there is one answer/],
    [{ logprobs: true }, /logprobs: log probabilities/],
    [{ top_logprobs: 3 }, /top_logprobs: log probabilities/],
    [{ tools: [{ type: 'function', function: { name: 'f' } }] }, /tools: a reader calls no tools/],
    [{ functions: [{ name: 'f' }] }, /functions:/],
    [{ tool_choice: 'required' }, /tool_choice:/],
    [{ response_format: { type: 'json_object' } }, /response_format: answers are text/],
    [{ response_format: { type: 'json_schema', json_schema: {} } }, /response_format: answers are text/],
    [{ modalities: ['text', 'audio'] }, /modalities:/],
    [{ frequency_penalty: 0.5 }, /frequency_penalty:/],
    [{ presence_penalty: -1 }, /presence_penalty:/],
    [{ logit_bias: { 5: -100 } }, /logit_bias:/],
    [{ stream_options: { include_usage: true } }, /stream_options: only with stream/],
  ];
  for (const [changes, message] of refused) {
    const response = await app.request('/v1/chat/completions', post(chat(changes)));
    const { message: said, type } = await errorOf(response);
    assert.deepEqual([response.status, type], [400, 'invalid_request_error'], JSON.stringify(changes));
    assert.match(String(said), message);
  }
  const nothing = {
    ...{ n: null, logprobs: false, top_logprobs: 0, tools: [], functions: null, tool_choice: 'none' },
    ...{ response_format: { type: 'text' }, modalities: ['text'], frequency_penalty: 0, presence_penalty: null },
    ...{ logit_bias: {}, stream_options: null, user: 'somebody', metadata: { a: 'b' }, store: false },
  };
  assert.equal((await app.request('/v1/chat/completions', post(chat(nothing)))).status, 200);
  assert.equal((await app.request('/v1/embeddings', post({ input: 'a', encoding_format: null }))).status, 200);
});

test("OpenAI's client: one model by its name", async () => {
  const [{ id }] = server.state.models;
  assert.equal((await client.models.retrieve(id)).id, id);
  for (const name of ['nothing', 'an-org/nothing', '__proto__']) {
    await assert.rejects(client.models.retrieve(name), { status: 404, code: 'model_not_found' });
  }
});

test('another method is answered with those that there are', async () => {
  for (const [method, path, status, allow] of [
    ['GET', '/v1/read', 405, 'POST, OPTIONS'],
    ['PUT', '/v1/chat/completions', 405, 'POST, OPTIONS'],
    ['DELETE', '/v1/models/any', 405, 'GET, HEAD, OPTIONS'],
    ['POST', '/health', 405, 'GET, HEAD, OPTIONS'],
    ['OPTIONS', '/v1/embeddings', 204, 'POST, OPTIONS'],
    ['HEAD', '/v1/models', 200, null],
    ['GET', '/v1/models/', 404, null],
    ['PUT', '/nothing', 404, null],
  ] as const) {
    const response = await app.request(path, { method });
    assert.deepEqual([response.status, response.headers.get('allow')], [status, allow], `${method} ${path}`);
    if (status >= 400) assert.ok((await errorOf(response))['code'], path);
  }
});

test('classify: a form says what JSON says', async () => {
  const labels = ['a cat', 'a dog, or two', 'ä€😀'];
  for (const template of [undefined, 'a photo of {}', ['a photo of {}', 'no {}']]) {
    const given = template === undefined ? {} : { template };
    const wanted = await app.request('/v1/classify', post({ image: pageUrl, labels, ...given }));
    const got = await app.request('/v1/classify', formOf({ image: pageBytes, labels, ...given }));
    assert.deepEqual([got.status, await got.json()], [200, await wanted.json()]);
  }
  for (const [fields, status, message] of [
    [{ labels }, 400, /a file named image/],
    [{ image: pageUrl, labels }, 400, /a file named image/],
    [{ image: pageBytes }, 400, /labels: expected a list/],
    [{ image: pageBytes, labels: pageBytes }, 400, /labels: expected text, got a file/],
    [{ image: pageBytes, labels, lables: 'a' }, 400, /body: unknown field lables; there are image, model/],
    [{ image: pageBytes, labels: ['a', 'a'] }, 400, /occurs twice/],
    [{ image: pageBytes, labels: Array<string>(65).fill('a') }, 400, /at most 64/],
    [{ image: pageBytes, labels, model: 'nothing' }, 404, /no model nothing/],
    [{ image: pageBytes, labels, model: ['nothing', 'nothing'] }, 400, /model: expected text/],
    [{ image: Buffer.from('hello'), labels }, 400, /not an image/],
  ] as const) {
    const response = await app.request('/v1/classify', formOf(fields));
    assert.equal(response.status, status);
    assert.match(String((await errorOf(response))['message']), message);
  }
  const noForm = { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=x' }, body: 'nothing' };
  assert.equal((await app.request('/v1/classify', noForm)).status, 400);
});

test('read: numbers are written as numbers are', async () => {
  for (const value of ['0x10', '1e1', '4.0', '-4', '', ' ', '9'.repeat(400), 'four']) {
    const query = new URLSearchParams({ max_tokens: value });
    const response = await app.request(`/v1/read?${query}`, { method: 'POST', body: new Uint8Array(pageBytes) });
    assert.deepEqual([value, response.status], [value, 400]);
  }
});

test('read: a setting that is misspelt or given as a second image is refused', async () => {
  const image = new Uint8Array(pageBytes);
  const asked = await app.request('/v1/read?max_token=4', { method: 'POST', body: image });
  assert.equal(asked.status, 400);
  assert.match(String((await errorOf(asked))['message']), /query: unknown field max_token; there are model, prompt/);
  const form = formOf({ image, steam: 'true' });
  const written = await app.request('/v1/read', form);
  assert.equal(written.status, 400);
  assert.match(String((await errorOf(written))['message']), /body: unknown field steam;/);
  const again = await app.request('/v1/read', formOf({ image, retries: ['0', '1'] }));
  assert.deepEqual(
    [again.status, (await errorOf(again))['message']],
    [400, 'body: retries: expected once, got 2 times'],
  );
  const twice = new FormData();
  for (const name of ['a.png', 'b.png']) twice.append('image', new Blob([image]), name);
  const two = await app.request('/v1/read', { method: 'POST', body: twice });
  assert.deepEqual([two.status, (await errorOf(two))['message']], [400, 'body: expected one image, got 2']);
});

test('a client that goes away while it sends is no failure of the server', async () => {
  for (const head of ['Content-Length: 100000', 'Transfer-Encoding: chunked']) {
    const known = server.logged.length;
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.write(`POST /v1/read HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n5\r\nabc`);
    while (server.state.bodyBytes === 0) await new Promise((done) => setTimeout(done, 5));
    socket.destroy();
    while (server.logged.length === known) await new Promise((done) => setTimeout(done, 5));
    const lines = server.logged.slice(known).map((line) => JSON.parse(line) as Json);
    assert.deepEqual(
      lines.map(({ level, status }) => [level, status]),
      [[30, 499]],
    );
    assert.equal(server.state.bodyBytes, 0);
  }
});

test('a server that is closed at once has loaded nothing', async () => {
  const closed = startServer({ models: [fixturePath('vary-tiny/checkpoint')] });
  await closed.close();
  await assert.rejects(closed.loaded, { name: 'AbortedError' });
  assert.deepEqual(closed.state.models, []);
});
