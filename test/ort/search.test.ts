import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { loadModel, type NodeClipModel, openIndex } from '../../src/index.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runCli, startCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { pictureFolder, writePicture } from '../helpers/pictures.js';

const checkpoint = withTokenizer('clip/ckpt-modern');
const model = (await loadModel(checkpoint, { threads: 2 })) as NodeClipModel;
after(() => model.dispose());
const cli = ['--model', checkpoint, '--threads', '2'];

async function madeIndex(count: number) {
  const dir = temporaryFolder();
  const root = join(dir, 'pictures');
  const paths = await pictureFolder(root, count);
  const out = join(dir, 'index');
  return { root, paths, out, open: () => openIndex(out, { model, root }) };
}

const lines = (out: string) =>
  out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('index and search: hits are the pictures by cosine, with what is known of them', async () => {
  const { root, paths, open } = await madeIndex(12);
  const index = await open();
  const report = await index.update({ workers: 2, batchSize: 5 });
  assert.deepEqual({ ...report }, { added: 12, changed: 0, removed: 0, unchanged: 0, failed: [] });
  const embeds = await model.embedImages(paths.map((path) => join(root, path)));
  const { data: query } = await model.embedTexts(['a red square']);
  const width = query.length;
  const cosines = paths.map((_, i) => query.reduce((sum, q, d) => sum + q * embeds.data[i * width + d], 0));
  const order = paths.map((_, i) => i).sort((a, b) => cosines[b] - cosines[a]);
  const hits = await index.search('a red square', { top: 12 });
  assert.deepEqual(
    hits.map(({ path }) => path),
    order.map((i) => paths[i]),
  );
  assertAllclose(
    hits.map(({ score }) => score),
    order.map((i) => cosines[i]),
    { atol: 1e-5, rtol: 0 },
  );
  const [{ path, file, size, width: across, height, modified }] = hits;
  assert.equal(file, join(root, path));
  assert.deepEqual([across, height], [24, 24]);
  assert.equal(size, statSync(file).size);
  assert.equal(modified, Math.trunc(statSync(file).mtimeMs));
  const [same] = await index.search({ image: join(root, paths[3]) }, { top: 1 });
  assert.equal(same.path, paths[3]);
  assert.ok(Math.abs(same.score - 1) < 1e-5);
  const some = await index.search('a red square', { where: 'path~odd/*', top: 3 });
  assert.deepEqual(
    some.map((hit) => hit.path),
    order
      .map((i) => paths[i])
      .filter((each) => each.startsWith('odd/'))
      .slice(0, 3),
  );
  await index.dispose();
});

test('a second run reads only what is new or changed; moved contents keep their vectors', async () => {
  const { root, paths, open } = await madeIndex(8);
  let index = await open();
  await index.update();
  const before = await index.search({ image: join(root, paths[2]) }, { top: 8 });
  await index.dispose();
  await writePicture(join(root, 'new.png'), 100);
  await writePicture(join(root, paths[0]), 101, 30);
  rmSync(join(root, paths[1]));
  renameSync(join(root, paths[2]), join(root, 'moved.png'));
  utimesSync(join(root, paths[3]), 1000, 1000);
  index = await open();
  const { failed, ...counts } = await index.update();
  // Moved: one added and one removed. Touched: unchanged.
  assert.deepEqual(counts, { added: 2, changed: 1, removed: 2, unchanged: 5 });
  const listed = (await index.pictures()).map(({ path }) => path).sort();
  assert.deepEqual(listed, [...paths.filter((_, i) => i !== 1 && i !== 2), 'moved.png', 'new.png'].sort());
  const hits = await index.search({ image: join(root, 'moved.png') }, { top: 20 });
  assert.equal(hits.length, 8);
  assert.equal(hits[0].path, 'moved.png');
  assert.equal(hits[0].score, before[0].score);
  assert.equal(hits.find(({ path }) => path === paths[3])?.modified, 1_000_000);
  const after = await index.update();
  assert.deepEqual({ ...after }, { added: 0, changed: 0, removed: 0, unchanged: 8, failed: [] });
  assert.equal(await index.remove(['moved.png', 'nowhere.png']), 1);
  assert.equal((await index.search('x', { top: 20 })).length, 7);
  assert.equal((await index.add([join(root, 'moved.png')])).added, 1);
  await assert.rejects(index.add(['../elsewhere.png']), { name: 'InputError', message: /not within/ });
  await index.dispose();
});

test('a folder that is empty now, as one whose disk is not there, does not empty its index', async () => {
  const { root, paths, open } = await madeIndex(3);
  let index = await open();
  await index.update();
  await index.dispose();
  for (const path of paths) rmSync(join(root, path));
  index = await open();
  await assert.rejects(index.update(), { name: 'InputError', message: /has no pictures, the index has 3 of it/ });
  assert.equal((await index.pictures()).length, 3);
  assert.equal(await index.remove(paths), 3);
  assert.equal((await index.update()).removed, 0);
  await index.dispose();
});

test('two swapped files get each other’s vectors, one after the other', async () => {
  const { root, paths, open } = await madeIndex(4);
  const index = await open();
  await index.update();
  const [a, b] = [join(root, paths[0]), join(root, paths[2])];
  renameSync(a, join(root, 'aside'));
  renameSync(b, a);
  renameSync(join(root, 'aside'), b);
  for (const file of [a, b]) utimesSync(file, 2000, 2000);
  assert.equal((await index.update({ batchSize: 1 })).changed, 2);
  for (const path of [paths[0], paths[2]]) {
    const [hit] = await index.search({ image: join(root, path) });
    assert.equal(hit.path, path);
    assert.ok(Math.abs(hit.score - 1) < 1e-5);
  }
  await index.dispose();
});

test('another model, precision, preprocessing or folder is refused with the reason', async () => {
  const { root, out, open } = await madeIndex(2);
  const index = await open();
  await index.update();
  await index.dispose();
  const other = (await loadModel(withTokenizer('clip/ckpt-legacy'), { threads: 2 })) as NodeClipModel;
  await assert.rejects(openIndex(out, { model: other }), { name: 'InputError', message: /another model.*weights/ });
  await other.dispose();
  const crooked = { ...model, processor: { ...model.processor, rescale: 1 } };
  await assert.rejects(openIndex(out, { model: crooked }), { message: /preprocessing rescale 0\.0039.* has 1[.;]/ });
  await assert.rejects(openIndex(out, { model: { ...model, precision: 'int8' } }), { message: /precision "float32"/ });
  await assert.rejects(openIndex(out, { model, root: join(root, 'odd') }), { message: /is an index of/ });
  await assert.rejects(openIndex(join(out, 'nothing'), { model }), { message: /there is no index/ });
  const manifest = join(out, 'index.json');
  const text = readFileSync(manifest, 'utf8');
  for (const [from, to, message] of [
    ['"cosine"', '"euclid"', /metric: expected cosine/],
    ['"little"', '"big"', /byteOrder/],
    ['"version": 1', '"version": 2', /version 2/],
  ] as const) {
    writeFileSync(manifest, text.replace(from, to));
    await assert.rejects(openIndex(out, { model }), { name: 'InputError', message });
  }
});

test('a process killed in the middle leaves an index that is used and gone on with', async () => {
  const { root, out, open } = await madeIndex(260);
  const { child, done } = startCli(['index', root, '--out', out, ...cli, '--workers', '1']);
  const log = join(out, 'pictures.0.jsonl');
  while (!existsSync(log) || statSync(log).size === 0) await new Promise((next) => setTimeout(next, 2));
  child.kill('SIGKILL');
  assert.equal((await done).code, null);
  assert.ok(existsSync(join(out, 'lock')));
  // And as if it had been in the middle of a line and of a vector.
  appendFileSync(log, '{"row":9999,"pa');
  appendFileSync(join(out, 'vectors.0.f32'), new Uint8Array(7));
  const reading = await openIndex(out, { model });
  const there = (await reading.pictures()).length;
  assert.ok(there > 0 && there < 260, `${there}`);
  assert.equal((await reading.search('a', { top: 300 })).length, there);
  await reading.dispose();
  const index = await open();
  const report = await index.update();
  assert.deepEqual({ ...report }, { added: 260 - there, changed: 0, removed: 0, unchanged: there, failed: [] });
  await index.dispose();
  const again = await openIndex(out, { model });
  assert.equal((await again.pictures()).length, 260);
  const [hit] = await again.search({ image: join(root, '258.png') });
  assert.equal(hit.path, '258.png');
  await again.dispose();
});

test('an interrupt ends the command with 130; what was in is in, and the next run goes on', async () => {
  const { root, out, open } = await madeIndex(150);
  const stop = new AbortController();
  const index = await open();
  const update = index.update({
    batchSize: 20,
    workers: 1,
    signal: stop.signal,
    onProgress: ({ done }) => {
      if (done === 90) stop.abort();
    },
  });
  await assert.rejects(update, { name: 'AbortedError' });
  const there = (await index.pictures()).length;
  assert.ok(there >= 20 && there < 150 && there % 20 === 0, `${there}`);
  await index.dispose();
  await assert.rejects(index.search('a'), { name: 'InputError', message: /was disposed/ });
  assert.ok(!existsSync(join(out, 'lock')));
  const aborted = await runCli(['index', root, '--out', out, ...cli], { signal: AbortSignal.abort() });
  assert.equal(aborted.code, 130, aborted.err);
  const again = await runCli(['index', root, '--out', out, ...cli]);
  assert.match(again.out, new RegExp(`^${150 - there} added, 0 changed, 0 removed, ${there} unchanged`));
});

test('a damaged store is refused, not read wrongly', async () => {
  const { out, open } = await madeIndex(3);
  const index = await open();
  await index.update();
  await index.dispose();
  const vectors = join(out, 'vectors.0.f32');
  const { size } = statSync(vectors);
  truncateSync(vectors, size - 4);
  await assert.rejects(openIndex(out, { model }), { name: 'InputError', message: /is damaged/ });
  truncateSync(vectors, size);
  const log = join(out, 'pictures.0.jsonl');
  const text = readFileSync(log, 'utf8');
  writeFileSync(log, text.replace('"row":1', '"row":2'));
  await assert.rejects(openIndex(out, { model }), { name: 'InputError', message: /jsonl:2: row: expected 1, got 2/ });
  writeFileSync(log, text.replace('"size"', '"sighs"'));
  await assert.rejects(openIndex(out, { model }), { name: 'InputError', message: /jsonl:1: size/ });
});

test('one process changes an index at a time; others read', async () => {
  const { root, out, open } = await madeIndex(2);
  const [first, second] = [await open(), await open()];
  await first.update();
  await assert.rejects(second.update(), { name: 'LockedError', message: /process \d+ is changing this index/ });
  const refused = await startCli(['index', root, '--out', out, ...cli]).done;
  assert.equal(refused.code, 2);
  assert.match(refused.err, /is changing this index/);
  assert.equal((await runCli(['search', out, 'a', ...cli])).code, 0);
  await first.dispose();
  assert.equal((await second.update()).unchanged, 2);
  await second.dispose();
});

test('a picture that ends its thread is named, and its neighbours are indexed', async () => {
  const folder = temporaryFolder();
  await pictureFolder(folder, 20);
  writeFileSync(join(folder, '5-ends.png'), 'whatever is in it');
  // As running out of memory would end it.
  const ending = join(temporaryFolder(), 'ending.mjs');
  writeFileSync(
    ending,
    `import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    import { isMainThread } from 'node:worker_threads';
    const { readFileSync } = fs;
    fs.readFileSync = (path, ...rest) => {
      if (!isMainThread && String(path).includes('ends')) process.exit(1);
      return readFileSync(path, ...rest);
    };
    syncBuiltinESMExports();`,
  );
  const out = join(temporaryFolder(), 'index');
  const args = ['index', folder, '--out', out, '--model', checkpoint, '--workers', '1'];
  const { code, err, out: said } = await startCli(args, { NODE_OPTIONS: `--import ${pathToFileURL(ending)}` }).done;
  assert.equal(code, 3, err);
  assert.match(said, /20 added, 0 changed, 0 removed, 0 unchanged, 1 failed/);
  assert.match(err, /5-ends\.png: ended the thread that worked on it/);
});

test('duplicates: copies and near copies are grouped, others not', async () => {
  const { root, paths, out, open } = await madeIndex(6);
  copyFileSync(join(root, paths[0]), join(root, 'copy.png'));
  await writePicture(join(root, 'larger.png'), 4, 48);
  const index = await open();
  await index.update();
  const groups = await index.duplicates({ threshold: 0.998 });
  assert.deepEqual(
    groups.map(({ pictures }) => pictures.map(({ path }) => path)),
    [
      [paths[0], 'copy.png'],
      [paths[4], 'larger.png'],
    ],
  );
  assert.deepEqual(await index.duplicates({ threshold: 0.998, where: 'path!=copy.png and width<48' }), []);
  await assert.rejects(index.duplicates({ threshold: 1.5 }), { name: 'InputError' });
  await index.dispose();
  const html = join(root, '..', 'same.html');
  const told = await runCli(['search', out, '--duplicates', '--threshold', '0.998', '--html', html]);
  assert.equal(told.code, 0, told.err);
  assert.equal(told.out.trim().split('\n').length, 2);
  assert.equal(readFileSync(html, 'utf8').match(/<img src="data:image\/jpeg;base64,/g)?.length, 4);
});

test('command line: index reports unreadable pictures, exit 3; search prints, filters, subtracts and writes a page', async () => {
  const { root, paths, out } = await madeIndex(5);
  writeFileSync(join(root, 'broken.png'), 'no picture');
  const first = await runCli(['index', root, '--out', out, ...cli]);
  assert.equal(first.code, 3, first.err);
  assert.equal(first.out, '5 added, 0 changed, 0 removed, 0 unchanged, 1 failed\n');
  assert.match(first.err, /broken\.png/);
  rmSync(join(root, 'broken.png'));
  const again = await runCli(['index', root, '--out', out, ...cli, '--json']);
  assert.equal(again.code, 0);
  assert.deepEqual(lines(again.out), [{ added: 0, changed: 0, removed: 0, unchanged: 5, failed: [] }]);
  const html = join(root, '..', 'found.html');
  // The model of the index is known: it need not be named.
  const told = await runCli(['search', out, 'a red square', '--top', '3', '--html', html, '--threads', '2']);
  assert.equal(told.code, 0, told.err);
  assert.match(told.out, /^(-?\d\.\d{4}\t.*\.png\n){3}$/);
  assert.equal(readFileSync(html, 'utf8').match(/<figure>/g)?.length, 3);
  const like = await runCli(['search', out, '--image', join(root, paths[1]), '--top', '1', '--json', ...cli]);
  assert.equal(lines(like.out)[0]['path'], paths[1]);
  const less = await runCli(['search', out, 'a', '--minus', 'a red square', '--json', '--top', '5', ...cli]);
  const plain = await runCli(['search', out, 'a', '--json', '--top', '5', ...cli]);
  assert.notDeepEqual(
    lines(less.out).map((hit) => hit['score']),
    lines(plain.out).map((hit) => hit['score']),
  );
  const none = await runCli(['search', out, 'a', '--where', 'width>1000', ...cli]);
  assert.deepEqual([none.code, none.out], [0, '']);
  // A folder without an index is searched all the same, and stays as it is.
  const before = readdirSync(root);
  const folder = await runCli(['search', root, 'a', '--json', '--top', '5', ...cli]);
  assert.equal(folder.code, 0, folder.err);
  assert.deepEqual(lines(folder.out), lines(plain.out));
  assert.deepEqual(readdirSync(root), before);
});

test('wrong usage is exit 2 and says what is missing', async () => {
  const { root, out, open, paths } = await madeIndex(1);
  const index = await open();
  await index.update();
  await index.dispose();
  const cases: [string[], RegExp][] = [
    [['search', out, ...cli], /give words/],
    [['search', out, 'a', '--duplicates', ...cli], /give words/],
    [['search', out, ' ', ...cli], /expected words, got an empty text/],
    [['search', out, 'a', 'b', ...cli], /in quotes/],
    [['search', out, '--minus', 'a', ...cli], /words or an image to look for/],
    [['search', out, 'a', '--minus', 'a', ...cli], /leaves nothing/],
    [['search', out, 'a', '--where', 'colour=red', ...cli], /got colour/],
    [['search', out, 'a', '--top', '0', ...cli], /--top/],
    [['search', join(root, 'none'), 'a', ...cli], /there is no index/],
    [['search', out, 'a', '--html', join(out, 'index.json'), ...cli], /lies in the index .*name another place/],
    [['search', out, 'a', '--html', join(root, paths[0]), ...cli], /has the name of a picture of .*\.html/],
    [['search', out, '--image', '/nowhere.png', ...cli], /nowhere\.png/],
    [['search', out, '--duplicates', '--threshold', '2'], /threshold/],
    [['index', ...cli], /name one folder/],
    [['index', root, ...cli], /--out/],
    [['index', join(root, 'none'), '--out', join(out, 'b'), ...cli], /expected a folder of pictures/],
    [['index', root, '--out', join(root, '..'), ...cli], /not empty/],
  ];
  for (const [args, message] of cases) {
    const { code, err } = await runCli(args);
    assert.equal(code, 2, `${args.slice(0, 4).join(' ')}: ${err}`);
    assert.match(err, message);
  }
});

test('a picture that says the words is found beside those that show them; the fused ranking has both', async () => {
  const { out, open, paths } = await madeIndex(6);
  const index = await open();
  await index.update({ workers: 1 });
  const shown = await index.search('a red square', { top: 6 });
  const last = shown[5].path;
  writeFileSync(
    join(out, 'texts.json'),
    JSON.stringify({ [last]: 'a red square, it says', [paths[0]]: 'other', gone: 'red' }),
  );
  const fused = await index.search('a red square', { top: 6 });
  // First by what it says and last by what it shows: above all but those that come before it in both.
  assert.equal(fused[0].path, last);
  assert.deepEqual(
    fused.slice(1).map(({ path }) => path),
    shown.slice(0, 5).map(({ path }) => path),
  );
  assert.equal((await index.search('a red square', { top: 6, where: `path!=${last}` })).length, 5);
  await index.dispose();
});
