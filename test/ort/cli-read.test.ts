import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import sharp from 'sharp';
import type { Tensor } from '../../src/core/tensor.js';
import { varyConfigFrom } from '../../src/models/vary.js';
import { writeRandomCheckpoint } from '../../src/node/init-vary.js';
import { loadModel } from '../../src/node/load-model.js';
import { openSafetensors, writeSafetensors } from '../../src/weights/safetensors.js';
import { memorySource } from '../../src/weights/source.js';
import { strip, tiffOf } from '../helpers/bulk.js';
import { scratchDir, writeOptCheckpoint } from '../helpers/checkpoints.js';
import { examplePath, runCli, startCli } from '../helpers/cli.js';
import { fixturePath } from '../helpers/fixtures.js';
import { startHub } from '../helpers/hub-server.js';

const scratch = scratchDir();
const page = fixturePath('high-image-processor/images/page.png');
const tiny = examplePath('tiny-vary');
const short = ['--max-new-tokens', '4', '--threads', '1'];

type Json = Record<string, unknown>;

/** The tiny checkpoint with changes. */
function variant(name: string, changes: { config?: Json; remove?: string[]; files?: Record<string, string> }): string {
  const dir = join(scratch, name);
  cpSync(tiny, dir, { recursive: true });
  const config = JSON.parse(readFileSync(join(tiny, 'config.json'), 'utf8')) as Json;
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...changes.config }));
  for (const file of changes.remove ?? []) rmSync(join(dir, file));
  for (const [file, text] of Object.entries(changes.files ?? {})) writeFileSync(join(dir, file), text);
  return dir;
}

async function tensorsOf(dir: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(memorySource('model', readFileSync(join(dir, 'model.safetensors'))));
  return new Map(await Promise.all(file.names.map(async (name) => [name, await file.read(name)] as const)));
}

async function assertRefused(args: readonly string[], message: RegExp): Promise<void> {
  const { code, out, err } = await runCli(['read', ...args, ...short]);
  assert.equal(code, 2, err);
  assert.match(err, message);
  assert.doesNotMatch(err, /\n\s+at /, 'a stack trace');
  assert.equal(out, '');
}

test('read: text on standard output, warnings on standard error, one JSON line per image', async () => {
  const plain = await runCli(['read', page, '-m', tiny, ...short]);
  assert.equal(plain.code, 0, plain.err);
  assert.ok(plain.out.endsWith('\n'));
  assert.match(plain.err, /page.png: the text was cut at the token limit/);
  const json = await runCli(['read', page, page, '-m', tiny, '--json', ...short]);
  const lines = json.out.trimEnd().split('\n');
  assert.equal(lines.length, 2);
  for (const line of lines) {
    const result = JSON.parse(line) as Json;
    assert.equal(result['image'], page);
    assert.equal(`${result['text']}\n`, plain.out);
    assert.equal(result['finishReason'], 'length');
  }
  assert.equal(json.err, '');
});

test('read: several images come out in their order, each as alone; one that fails is named in its place', async () => {
  const nano = ['--threads', '1'];
  const [long, short] = [join(scratch, 'long.png'), join(scratch, 'short.png')];
  const strip = (path: string, height: number) =>
    sharp(examplePath('page.png')).extract({ left: 240, top: 180, width: 760, height }).png().toFile(path);
  await Promise.all([strip(long, 110), strip(short, 40)]);
  const broken = join(scratch, 'broken.png');
  writeFileSync(broken, 'no image');
  const alone = await Promise.all([long, short].map((path) => runCli(['read', path, ...nano])));
  const [first, second] = alone.map(({ out }) => out);
  assert.ok(first.split('\n').length > second.split('\n').length && second.length > 20, first + second);
  const pieces: string[] = [];
  const { code } = await runCli(['read', long, short, broken, short, ...nano], {
    out: (text) => void pieces.push(text),
    // The lines cut in half are uncertain: warnings of theirs do not matter here.
    err: (text) => void (text.includes('broken.png') && pieces.push(text)),
  });
  assert.equal(code, 3);
  const [before, after] = pieces.join('').split(/varyclip: .*broken.png: .*\n/);
  assert.deepEqual([before, after], [first + second, second]);
  // Not only when an image is done.
  assert.ok(pieces.indexOf(pieces.find((text) => text.includes('broken')) ?? '') > 4, JSON.stringify(pieces));
});

test('read: of several pages the first is read, which is said', async () => {
  const three = join(scratch, 'three.tif');
  const pages = await Promise.all([0, 5, 10].map((i) => strip(i, 300)));
  writeFileSync(three, await tiffOf(pages));
  const said = 'only page 1 of 3 was read; varyclip read FILE --out DIR reads all of them';
  const { out, err } = await runCli(['read', three, '-m', tiny, ...short]);
  assert.ok(err.includes(`varyclip: ${three}: ${said}\n`), err);
  const json = await runCli(['read', three, '-m', tiny, '--json', ...short]);
  const { text, warnings } = JSON.parse(json.out) as { text: string; warnings: string[] };
  assert.deepEqual([`${text}\n`, warnings[0]], [out, said]);
  const model = await loadModel(tiny, { threads: 1 });
  try {
    assert.ok(model.kind === 'vary');
    const results = await model.readAll([three, page], { maxNewTokens: 4 });
    assert.deepEqual(
      results.map((result) => result.warnings.includes(said)),
      [true, false],
    );
  } finally {
    await model.dispose();
  }
});

test('read: standard input', async () => {
  const readStdin = async () => readFileSync(page);
  const { code, out } = await runCli(['read', '-', '-m', tiny, '--json', ...short], { readStdin });
  assert.equal(code, 0);
  assert.equal((JSON.parse(out) as Json)['image'], '-');
  const empty = await runCli(['read', '-', '-m', tiny, ...short]);
  assert.deepEqual([empty.code, empty.err], [2, 'varyclip: standard input: is an empty file\n']);
});

test('read: a wrong path, a directory, a broken image, a cut one, an empty one', async () => {
  const write = (name: string, content: Uint8Array | string) => {
    writeFileSync(join(scratch, name), content);
    return join(scratch, name);
  };
  const cut = readFileSync(page).subarray(0, 5000);
  await assertRefused([join(scratch, 'none.png'), '-m', tiny], /none.png: cannot be read/);
  await assertRefused([scratch, '-m', tiny], /expected an image file, got a directory/);
  await assertRefused([write('text.png', 'not an image'), '-m', tiny], /text.png: .*not an image/);
  await assertRefused([write('empty.png', ''), '-m', tiny], /empty.png: .*empty/);
  await assertRefused([write('cut.png', cut), '-m', tiny], /cut.png: cannot be decoded/);
  await assertRefused(
    [write('a.pdf', '%PDF-1.7'), '-m', tiny],
    /a.pdf: .*got a PDF, which `varyclip read FILE --out DIR`/,
  );
});

test('read: some images fail: the others are read, exit code 3', async () => {
  const { code, out, err } = await runCli([
    'read',
    page,
    join(scratch, 'none.png'),
    page,
    '-m',
    tiny,
    '--json',
    ...short,
  ]);
  assert.equal(code, 3);
  assert.equal(out.trimEnd().split('\n').length, 2);
  assert.match(err, /none.png: cannot be read/);
});

test('read: directories that are no checkpoint, or another family', async () => {
  const empty = join(scratch, 'no-checkpoint');
  mkdirSync(empty);
  await assertRefused([page, '-m', join(scratch, 'nowhere')], /there is no such checkpoint directory/);
  await assertRefused([page, '-m', 'org/not-pulled'], /varyclip pull org\/not-pulled/);
  await assertRefused([page, '-m', empty], /is not a checkpoint: it has no config.json/);
  await assertRefused(
    [page, '-m', variant('llama', { config: { model_type: 'llama' } })],
    /model_type: expected vary, opt, clip or siglip, got "llama"/,
  );
  await assertRefused(
    [page, '-m', variant('no-weights', { remove: ['model.safetensors'] })],
    /has no weights; looked for/,
  );
  await assertRefused(
    [page, '-m', writeOptCheckpoint(join(scratch, 'opt'))],
    /is a opt checkpoint|is an opt checkpoint/,
  );
});

test('read: tensors that are missing, misshapen, unexpected or of the wrong kind are listed', async () => {
  const tensors = await tensorsOf(tiny);
  const name = 'model.decoder.layers.0.fc1.weight';
  const found = tensors.get(name)!;
  const write = (label: string, changed: Map<string, Tensor>) => {
    const dir = variant(label, {});
    writeFileSync(join(dir, 'model.safetensors'), writeSafetensors(changed));
    return dir;
  };
  const missing = new Map(tensors);
  missing.delete(name);
  await assertRefused([page, '-m', write('missing', missing)], new RegExp(`missing \\(1\\):\\n +${name}`));
  const transposed = new Map(tensors).set(name, { ...found, shape: found.shape.toReversed() });
  await assertRefused(
    [page, '-m', write('misshapen', transposed)],
    /misshapen \(1\):\n.*expected \[64,32\], got float32 \[32,64\]/,
  );
  const extra = new Map(tensors).set('model.decoder.extra', found);
  await assertRefused([page, '-m', write('extra', extra)], /unexpected \(1\):\n +model.decoder.extra/);
  const whole = new Map(tensors).set(name, {
    dtype: 'int32',
    shape: found.shape,
    data: new Int32Array(found.data.length),
  });
  await assertRefused([page, '-m', write('int', whole)], /got int32 \[64,32\]/);
});

test('read: tokenizers that are missing, lack <imgpad>, or number it otherwise', async () => {
  await assertRefused(
    [page, '-m', variant('no-tokenizer', { remove: ['vocab.json'] })],
    /varyclip: \S*no-tokenizer: has no tokenizer: it cannot read/,
  );
  await assertRefused(
    [page, '-m', variant('no-imgpad', { files: { 'added_tokens.json': '{"<img>":618,"</img>":619}' } })],
    /<imgpad>/,
  );
  await assertRefused(
    [
      page,
      '-m',
      variant('other-imgpad', { files: { 'added_tokens.json': '{"<img>":617,"<imgpad>":618,"</img>":619}' } }),
    ],
    /<img/,
  );
  await assertRefused(
    [page, '-m', variant('broken-vocab', { files: { 'vocab.json': '{"a":' } })],
    /vocab.json: is not JSON/,
  );
});

test('read: a prompt longer than the positions', async () => {
  await assertRefused([page, '-m', tiny, '--prompt', 'word '.repeat(300)], /128 positions|positions/);
});

test('read: an interrupt that came before is exit code 130', async () => {
  const { code, err } = await runCli(['read', page, page, '-m', tiny, ...short], { signal: AbortSignal.abort() });
  assert.equal(code, 130);
  assert.match(err, /^varyclip: interrupted\n$/);
});

test('the program: a result, no escape codes in pipes, colour or not', async () => {
  for (const environment of [{ NO_COLOR: '1' }, { FORCE_COLOR: '1', NO_COLOR: '' }]) {
    const { code, out, err } = await startCli(['read', page, '-m', tiny, ...short], environment).done;
    assert.equal(code, 0, err);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is the control character that must not be there.
    assert.doesNotMatch(out + err, /\u001b/);
  }
});

test('the program: SIGINT while reading ends with 130 and whole lines', async () => {
  const images = Array<string>(2000).fill(page);
  const { child, done } = startCli(['read', ...images, '-m', tiny, '--json', ...short]);
  child.stdout.once('data', () => child.kill('SIGINT'));
  const { code, out, err } = await done;
  assert.equal(code, 130, err);
  assert.doesNotMatch(err, /\n\s+at /);
  const lines = out.trimEnd().split('\n');
  assert.ok(lines.length < 2000);
  assert.match(err, /varyclip: interrupted\n$/);
  for (const line of lines) JSON.parse(line);
});

test('the program: a reader that goes away ends it quietly', async () => {
  const images = Array<string>(2000).fill(page);
  const { child, done } = startCli(['read', ...images, '-m', tiny, '--json', ...short]);
  child.stdout.once('data', () => child.stdout.destroy());
  const { code, err } = await done;
  assert.equal(code, 0);
  assert.equal(err, '');
});

test('the program: a reader that goes away does not keep a file from being written', async () => {
  const html = join(scratch, 'read.html');
  const { child, done } = startCli(['read', ...Array<string>(40).fill(page), '-m', tiny, '--html', html, ...short]);
  child.stdout.once('data', () => child.stdout.destroy());
  const { code, err } = await done;
  assert.equal(code, 0, err);
  assert.equal(readFileSync(html, 'utf8').split('<img').length - 1, 40);
});

test('a file that cannot be is refused before the work', async () => {
  for (const [html, message] of [
    [scratch, /is a directory; name a file/],
    [join(scratch, 'nowhere', 'a.html'), /there is no folder .*nowhere; make it first/],
  ] as const) {
    const { code, out, err } = await runCli(['read', page, '-m', tiny, '--html', html, ...short]);
    assert.equal(code, 2);
    assert.match(err, message);
    assert.equal(out, '');
  }
});

test('read --read-blank asks the model about a page without text', async () => {
  const blank = join(scratch, 'blank.png');
  await sharp({ create: { width: 300, height: 200, channels: 3, background: 'white' } })
    .png()
    .toFile(blank);
  const read = async (...options: string[]) => {
    const { out } = await runCli(['read', blank, '-m', tiny, '--json', ...short, ...options]);
    return JSON.parse(out) as { finishReason: string; usage: { completionTokens: number } };
  };
  assert.equal((await read()).finishReason, 'blank');
  assert.notEqual((await read('--read-blank')).usage.completionTokens, 0);
});

test('the program: standard error that goes away does not end it', async () => {
  const { child, done } = startCli(['read', page, join(scratch, 'none.png'), page, '-m', tiny, '--json', ...short]);
  child.stderr.destroy();
  const { code, out } = await done;
  assert.equal(code, 3);
  assert.equal(out.trimEnd().split('\n').length, 2);
});

test('init: a checkpoint that loads and reads, the same from the same seed, nothing where something is', async () => {
  const config = varyConfigFrom(JSON.parse(readFileSync(join(tiny, 'config.json'), 'utf8')), 'config.json');
  const write = async (name: string, seed: number) => {
    const parameters = await writeRandomCheckpoint(join(scratch, name), config, seed);
    assert.equal(parameters, 126_832 - 620 * 32);
    return readFileSync(join(scratch, name, 'model.safetensors'));
  };
  const first = await write('init-a', 5);
  assert.deepEqual(await write('init-b', 5), first);
  assert.notDeepEqual(await write('init-c', 6), first);
  await assert.rejects(write('init-a', 5), /init-a: is a directory that is not empty/);
  const inspected = await runCli(['inspect', join(scratch, 'init-a')]);
  assert.equal(inspected.code, 0, inspected.out);
  const { code, out, err } = await runCli(['read', page, '-m', join(scratch, 'init-a'), ...short]);
  assert.equal(code, 0, err);
  assert.ok(out.length > 0);
});

test('the program: pull, then read by the name on the hub; offline; an interrupted pull', async () => {
  const files = Object.fromEntries(
    readdirSync(tiny).map((name) => [
      name,
      { content: readFileSync(join(tiny, name)), lfs: name.endsWith('.safetensors') },
    ]),
  );
  const hub = await startHub(files);
  const environment = {
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_CACHE: join(scratch, 'hub'),
    HF_TOKEN: '',
    HF_HUB_OFFLINE: '',
  };
  hub.faults.silent = true;
  const { child, done } = startCli(['pull', 'org/name'], environment);
  while (!hub.requests.some(({ path }) => path.includes('/resolve/'))) await setTimeout(10);
  child.kill('SIGINT');
  const interrupted = await done;
  assert.equal(interrupted.code, 130, interrupted.err);
  assert.match(interrupted.err, /interrupted; the next pull goes on/);
  hub.faults.silent = false;
  const missing = await startCli(['read', page, '-m', 'org/name', ...short], environment).done;
  assert.equal(missing.code, 2);
  assert.match(missing.err, /download it with: varyclip pull org\/name/);
  const pulled = await startCli(['pull', 'org/name', '--json'], environment).done;
  assert.equal(pulled.code, 0, pulled.err);
  assert.match(pulled.err, /7 of 7 files downloaded/);
  const { directory } = JSON.parse(pulled.out) as { directory: string };
  const want = await runCli(['read', page, '-m', directory, ...short]);
  const got = await startCli(['read', page, '-m', 'org/name', ...short], { ...environment, HF_HUB_OFFLINE: '1' }).done;
  assert.equal(got.code, 0, got.err);
  assert.equal(got.out, want.out);
  const unknown = await startCli(['pull', 'org/unknown'], environment).done;
  assert.equal(unknown.code, 2);
  assert.match(unknown.err, /org\/unknown: not found on the hub \(404\)/);
  const dead = await startCli(['pull', 'org/name'], { ...environment, HF_ENDPOINT: 'http://127.0.0.1:9' }).done;
  assert.equal(dead.code, 1);
});
