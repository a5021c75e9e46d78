import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createBodyReader } from '../../src/server/body-reader.js';
import { type LimitName, limitsWith } from '../../src/server/limits.js';
import { requestFields } from '../../src/server/schemas.js';

function openReader(changes: { readonly [K in LimitName]?: number } = {}) {
  const limits = limitsWith(changes);
  const reader = createBodyReader(requestFields(limits), limits);
  after(() => reader.dispose());
  return reader;
}
const reader = openReader();
/** Large enough for a thread, whatever it says. */
const large = ' '.repeat(70_000);
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));
const urlOf = (bytes: Uint8Array) => `data:image/png;base64,${Buffer.from(bytes).toString('base64')}`;

test('a body says the same on this thread and on another; pictures come as bytes', async () => {
  const picture = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) % 251);
  for (const image of [urlOf(picture.subarray(0, 50)), urlOf(picture), 'https://example.org/a.png']) {
    const body = { image, labels: ['ä€😀', 'a "quoted" \\ label\n'], template: null, unknown: [[1, { a: null }]] };
    const expected = {
      image: image.startsWith('data:') ? Buffer.from(image.slice(22), 'base64') : image,
      labels: body.labels,
    };
    for (const indent of [0, 2]) {
      const text = JSON.stringify(body, null, indent);
      for (const whole of [text, large + text]) {
        const read = await reader.json('classify', bytesOf(whole));
        const { image: got, labels, ...rest } = read;
        // Compared without a message: pictures are long.
        assert.ok(
          typeof got === 'string' ? got === expected.image : Buffer.compare(got, Buffer.from(expected.image)) === 0,
        );
        assert.deepEqual([labels, rest], [expected.labels, {}]);
      }
    }
  }
});

test('the memory of a large body and of its pictures is handed over', async () => {
  const bytes = bytesOf(JSON.stringify({ image: urlOf(new Uint8Array(200_000)), labels: ['a'] }));
  const { image } = await reader.json('classify', bytes);
  assert.equal(bytes.length, 0);
  assert.ok(image instanceof Uint8Array && image.buffer.byteLength === 200_000);
});

test('what is no body is refused in few words, wherever it is read', async () => {
  const deep = '['.repeat(12_000) + ']'.repeat(12_000);
  for (const [text, message] of [
    ['{"messages":', /is not JSON/],
    [`"${'a'.repeat(70_000)}`, /is not JSON/],
    ['['.repeat(200_000), /more structure/],
    [`"${'\\"'.repeat(200_000)}"`, /more structure/],
    [deep, /expected a JSON object/],
    [`{"messages":${deep}}`, /messages/],
    [`{"messages":[{"role":${deep}}]}`, /role/],
    [`{"model":"${'a'.repeat(1_000_000)}","messages":1}`, /expected a list/],
  ] as const) {
    for (const whole of [text, large + text]) {
      await assert.rejects(
        reader.json('chat', bytesOf(whole)),
        (error: Error) => error.name === 'InputError' && message.test(error.message) && error.message.length < 300,
        text.slice(0, 40),
      );
    }
  }
});

test('a form has an image and what is asked for of its texts', async () => {
  const form = new FormData();
  form.set('image', new Blob([new Uint8Array(100_000).fill(7)]), 'page.png');
  form.append('prompt', 'read this');
  form.append('prompt', 'and this');
  const made = new Response(form);
  const type = made.headers.get('content-type') as string;
  const read = async (bytes: Uint8Array) => reader.form(type, ['prompt', 'model'], bytes);
  const bytes = new Uint8Array(await made.arrayBuffer());
  const { image, texts } = await read(bytes.slice());
  assert.deepEqual([image.length, image[99_999], texts], [100_000, 7, { prompt: ['read this', 'and this'] }]);
  await assert.rejects(read(bytesOf('no form')), { name: 'InputError', message: /is not a form/ });
  await assert.rejects(reader.form(type, ['model'], bytes), {
    name: 'InputError',
    message: /body: unknown field prompt;/,
  });
});

test('all texts of a chat together have a limit, and so have conditions, stop strings and labels', async () => {
  const small = openReader({ maxPromptLength: 20, maxTextLength: 8 });
  const chat = (...texts: string[]) => ({ messages: texts.map((content) => ({ role: 'user', content })) });
  const parts = { messages: [{ role: 'user', content: [{ type: 'text', text: '123456789012' }] }] };
  for (const [name, body, message] of [
    ['chat', chat('123456789012345678901'), /content: expected at most 20 characters, got 21/],
    ['chat', chat('12345678901', '12345678901'), /messages: all texts: expected at most 20 characters, got 23/],
    ['chat', { messages: [...parts.messages, ...parts.messages] }, /all texts: expected at most 20/],
    ['chat', { ...chat('a'), stop: '123456789' }, /stop: expected at most 8/],
    ['chat', { ...chat('a'), stop: ['a', '123456789'] }, /stop.*: expected at most 8/],
    ['search', { where: 'path~*?*?*?*' }, /where: expected at most 8/],
    ['classify', { image: 'a', labels: ['123456789'] }, /labels.*: expected at most 8/],
  ] as const) {
    await assert.rejects(small.json(name, bytesOf(JSON.stringify(body))), { name: 'InputError', message });
  }
  await small.json('chat', bytesOf(JSON.stringify(chat('1234567890', '123456789'))));
});

test('a body that takes too long to parse is refused', async () => {
  const hasty = openReader({ parseSeconds: 0.001 });
  const body = JSON.stringify({ image: urlOf(new Uint8Array(8 << 20)), labels: ['a'] });
  await assert.rejects(hasty.json('classify', bytesOf(body)), { name: 'TimeLimitError' });
});
