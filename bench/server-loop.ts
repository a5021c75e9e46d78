/** How long the event loop of a server stands still while it answers requests of every kind, large ones included. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { createRng } from '../src/core/rng.js';
import { loadModel } from '../src/index.js';
import { writeRandomCheckpoint } from '../src/node/init-vary.js';
import { openIndex } from '../src/node/search/picture-index.js';
import type { Row } from './server.js';
import { startServerProcess } from './server-process.js';
import type { Size } from './server-sizes.js';

/** A request whose answer is not looked at, but has to be one. */
interface Kind {
  readonly name: string;
  readonly path: string;
  body(): RequestInit;
}

const json = (body: unknown): RequestInit => ({
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
const dataUrl = (png: Buffer) => `data:image/png;base64,${png.toString('base64')}`;
const words = (count: number) => Array.from({ length: count }, (_, i) => `a photo of a thing that has number ${i}`);

/** A picture of noise, stored: so many bytes, nearly. */
function noisePng(bytes: number): Promise<Buffer> {
  const side = Math.floor(Math.sqrt(bytes / 3));
  const rng = createRng(bytes, 3);
  const data = Uint8Array.from({ length: 3 * side * side }, () => 256 * rng.next());
  return sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png({ compressionLevel: 0 })
    .toBuffer();
}

function kindsOf(page: Buffer, large: Buffer): Kind[] {
  const chat = (png: Buffer, more: object = {}) =>
    json({
      model: 'reader',
      messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: dataUrl(png) } }] }],
      max_tokens: 16,
      ...more,
    });
  const form = () => {
    const body = new FormData();
    body.set('image', new Blob([new Uint8Array(large)], { type: 'image/png' }), 'page.png');
    body.set('max_tokens', '16');
    return { body };
  };
  return [
    { name: 'chat', path: 'chat/completions', body: () => chat(page) },
    { name: 'chat, streamed', path: 'chat/completions', body: () => chat(page, { stream: true }) },
    { name: 'chat, sampled', path: 'chat/completions', body: () => chat(page, { temperature: 1, seed: 1 }) },
    { name: 'chat, large image', path: 'chat/completions', body: () => chat(large) },
    {
      name: 'read, large image',
      path: 'read?max_tokens=16&model=reader',
      body: () => ({ body: new Uint8Array(large) }),
    },
    { name: 'read, large form', path: 'read?model=reader', body: form },
    { name: 'embeddings, 64 texts', path: 'embeddings', body: () => json({ input: words(64) }) },
    { name: 'embeddings, large image', path: 'embeddings', body: () => json({ input: [{ image: dataUrl(large) }] }) },
    { name: 'classify, 64 labels', path: 'classify', body: () => json({ image: dataUrl(page), labels: words(64) }) },
    { name: 'search, large image', path: 'search', body: () => json({ image: dataUrl(large) }) },
  ];
}

export async function benchEventLoop(
  { config, imageBytes }: Size,
  { threads, rounds }: { readonly threads: number; readonly rounds: number },
): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'varyclip-bench-'));
  try {
    await writeRandomCheckpoint(join(folder, 'reader'), config, 1);
    await makeIndex(join(folder, 'index'));
    const models = ['--model', join(folder, 'reader'), '--index', join(folder, 'index'), '--threads', String(threads)];
    const server = await startServerProcess(models);
    try {
      const page = await sharp(fileURLToPath(new URL('../../examples/page.png', import.meta.url)))
        .png()
        .toBuffer();
      const rows: Row[] = [];
      for (const kind of kindsOf(page, await noisePng(imageBytes))) rows.push(await pauseOf(server, kind, rounds));
      return rows;
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function makeIndex(dir: string): Promise<void> {
  const model = await loadModel('clip-nano', { threads: 1 });
  if (model.kind !== 'clip') throw new Error('clip-nano: expected a clip checkpoint');
  const root = fileURLToPath(new URL('../../examples/pictures', import.meta.url));
  const index = await openIndex(dir, { model, root });
  await index.update({ workers: 1 });
  await index.dispose();
  await model.dispose();
}

/** The longest pause while two clients ask at once, a request of the kind having been answered before. */
async function pauseOf(
  { url, metric }: Awaited<ReturnType<typeof startServerProcess>>,
  { name, path, body }: Kind,
  rounds: number,
): Promise<Row> {
  const ask = async () => {
    const response = await fetch(`${url}/v1/${path}`, { method: 'POST', ...body() });
    const answer = await response.text();
    if (response.status !== 200) throw new Error(`${name}: answered ${response.status}: ${answer.slice(0, 200)}`);
  };
  await ask();
  await metric('event_loop_delay_max_seconds');
  for (let round = 0; round < rounds; round++) await Promise.all([ask(), ask()]);
  const pause = 1000 * (await metric('event_loop_delay_max_seconds'));
  return {
    what: `event loop, ${name}: longest pause`,
    value: `${pause.toFixed(1)} ms`,
    goal: '≤ 50 ms',
    ok: pause <= 50,
  };
}
