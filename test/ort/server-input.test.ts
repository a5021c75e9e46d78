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
    socket.write(`POST /v1/read HTTP/1.1\r\nHost: localhost\r\n${head}\r\n\r\n5\r\nabc`);
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

/** What a server answers to bytes, until it closes the connection. */
async function answerTo(place: string, parts: readonly (string | Uint8Array)[]): Promise<string> {
  const socket = connect(Number(new URL(place).port), '127.0.0.1');
  for (const part of parts) socket.write(part);
  const received: Buffer[] = [];
  for await (const chunk of socket) received.push(chunk as Buffer);
  return Buffer.concat(received).toString();
}

test('an answer that does not wait for the body ends the connection, says so, and is read', async () => {
  const small = startServer({ limits: { maxBodyBytes: 1 << 20 } });
  await small.loaded;
  const { url: place } = await small.listen({ port: 0 });
  const body = Buffer.alloc(8 << 20);
  const chunk = Buffer.concat([Buffer.from('800000\r\n'), body, Buffer.from('\r\n0\r\n\r\n')]);
  for (const [path, head, bytes, status] of [
    ['/v1/read', `Content-Length: ${body.length}`, body, 413],
    ['/v1/read', 'Transfer-Encoding: chunked', chunk, 413],
    ['/nothing', `Content-Length: ${body.length}`, body, 404],
    ['/health', 'Transfer-Encoding: chunked', chunk, 404],
  ] as const) {
    const text = await answerTo(place, [`POST ${path} HTTP/1.1\r\nHost: localhost\r\n${head}\r\n\r\n`, bytes]);
    const [headers, json] = text.split('\r\n\r\n');
    assert.match(headers, new RegExp(`^HTTP/1.1 ${path === '/health' ? 405 : status} `), path);
    assert.match(headers, /\r\nconnection: close/i);
    assert.equal(typeof (JSON.parse(json) as { error: Json }).error['message'], 'string');
  }
  // A body that is here already is no reason to part.
  const text = await answerTo(place, [
    'POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}',
    'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
  ]);
  assert.match(text, /^HTTP\/1.1 404 .*\r\nconnection: keep-alive.*HTTP\/1.1 200 /is);
});

test('HTTP/1.0 needs no host', async () => {
  const text = await answerTo(url, ['GET /health HTTP/1.0\r\n\r\n']);
  assert.match(text, /^HTTP\/1.1 200 OK.*\{"status":"ok"\}$/s);
});

test('without a key, this machine is asked by its own name, and by no page of another host', async () => {
  const statusOf = async (place: string, ...headers: string[]) => {
    const text = await answerTo(place, [
      `GET /v1/models HTTP/1.1\r\n${headers.join('\r\n')}\r\nConnection: close\r\n\r\n`,
    ]);
    return Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1]);
  };
  for (const host of ['localhost', 'LocalHost:1', 'a.localhost:80', '127.0.0.1:8000', '127.1.2.3', '[::1]:8000']) {
    assert.equal(await statusOf(url, `Host: ${host}`), 200, host);
  }
  for (const host of ['evil.example', 'localhost.evil.example:8000', '192.168.0.1', '1.127.0.0.1.nip.io', '[::2]']) {
    assert.equal(await statusOf(url, `Host: ${host}`), 403, host);
  }
  const own = 'Host: localhost:8000';
  for (const origin of ['http://localhost:8000', 'HTTP://LOCALHOST:8000']) {
    assert.equal(await statusOf(url, own, `Origin: ${origin}`), 200, origin);
  }
  assert.equal(await statusOf(url, 'Host: localhost', 'Origin: https://localhost'), 200);
  for (const origin of ['http://evil.example', 'http://localhost:3000', 'null', 'file://', 'http://127.0.0.1:8000']) {
    assert.equal(await statusOf(url, own, `Origin: ${origin}`), 403, origin);
    assert.equal(await statusOf(url, own, `Origin: ${origin}`, 'Sec-Fetch-Site: cross-site'), 403, origin);
    // Behind a proxy that says another host than the browser did.
    assert.equal(await statusOf(url, own, `Origin: ${origin}`, 'Sec-Fetch-Site: same-origin'), 200, origin);
  }
  const response = await fetch(`${url}/v1/classify`, { ...post({}), headers: { origin: 'http://evil.example' } });
  const { type, code, message } = await errorOf(response);
  assert.deepEqual([response.status, type, code], [403, 'permission_error', 'origin_not_allowed']);
  assert.match(String(message), /start it with an API key/);
  // Who has the key may be anyone; a program's own app is asked as it likes.
  const locked = startServer({ apiKey: 'key' });
  await locked.loaded;
  const { url: closed } = await locked.listen({ port: 0 });
  assert.equal(await statusOf(closed, 'Host: a.example', 'Origin: http://b.example', 'X-Api-Key: key'), 200);
  const unbound = startServer({});
  await unbound.loaded;
  const asked = await unbound.app.request('/v1/models', { headers: { origin: 'http://b.example' } });
  assert.equal(asked.status, 200);
});

test('an empty host is none: it would be all addresses', async () => {
  const nowhere = startServer({});
  await assert.rejects(nowhere.listen({ host: '', port: 0 }), {
    name: 'InputError',
    message: /^host: expected an address to listen on, got an empty text/,
  });
});

test('a server that is closed at once has loaded nothing', async () => {
  const closed = startServer({ models: [fixturePath('vary-tiny/checkpoint')] });
  await closed.close();
  await assert.rejects(closed.loaded, { name: 'AbortedError' });
  assert.deepEqual(closed.state.models, []);
});
