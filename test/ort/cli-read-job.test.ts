import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type VaryConfig, varyNano } from '../../src/models/vary.js';
import { writeRandomCheckpoint } from '../../src/node/init-vary.js';
import { loadModel } from '../../src/node/load-model.js';
import { filesIn, picturePdf, strip, write } from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { examplePath, runCli } from '../helpers/cli.js';

const scratch = scratchDir();
const folder = join(scratch, 'in');
const model = join(scratch, 'model');
const one = ['-m', model, '--threads', '1', '--max-new-tokens', '6'];
const short = [...one, '--jobs', '1'];

test('read --out: each page as `read` reads it alone, whatever shares its batches; journal, report, exit codes', async () => {
  // Random weights: nonsense, but lines, boxes and confidences.
  const config: VaryConfig = {
    ...varyNano,
    tower: { ...varyNano.tower, depth: 1 },
    decoder: { ...varyNano.decoder, layers: 1 },
  };
  await writeRandomCheckpoint(model, config, 3);
  const pages = await Promise.all([0, 5, 10, 15].map((i) => strip(i, 300)));
  for (const [i, png] of pages.entries()) write(join(folder, `${i}.png`), png);
  const out = join(scratch, 'out');
  const first = await runCli(['read', folder, '--out', out, '--format', 'txt,json,pdf', ...short]);
  assert.equal(first.code, 0, first.err);
  assert.match(first.err, /4 documents written, 0 unchanged, 4 pages and \d+ lines read/);
  const loaded = await loadModel(model, { threads: 1 });
  assert.equal(loaded.kind, 'vary');
  try {
    if (loaded.kind !== 'vary') return;
    for (const [i, png] of pages.entries()) {
      const alone = await loaded.read(new Uint8Array(png), { maxNewTokens: 6 });
      const {
        pages: [page],
        reader,
      } = JSON.parse(readFileSync(join(out, `${i}.json`), 'utf8'));
      assert.equal(page.text, alone.text);
      assert.deepEqual(
        page.lines.map((each: { box: unknown }) => each.box),
        alone.lines?.map(({ box }) => box),
      );
      for (const [l, each] of (alone.lines ?? []).entries())
        assert.ok(Math.abs(page.lines[l].confidence - each.confidence) < 1e-4);
      assert.equal(reader.weights, await loaded.hashWeights());
    }
  } finally {
    await loaded.dispose();
  }
  const moves = join(scratch, 'moves.webp');
  cpSync('test/fixtures/image-decode/animated.webp', moves);
  const moving = await runCli(['read', moves, '--out', join(scratch, 'moving'), '-f', 'json', ...short]);
  const [still] = JSON.parse(readFileSync(join(scratch, 'moving', 'moves.json'), 'utf8')).pages;
  assert.deepEqual([moving.code, still.warnings[0]], [0, 'only the first of its 3 frames was read'], moving.err);
  const files = filesIn(out);
  write(join(folder, 'broken.png'), pages[0].subarray(0, 500));
  const list = write(join(scratch, 'list.txt'), `${folder}\n${join(scratch, 'gone.png')}\n`);
  const second = await runCli(['read', '--list', list, '-o', out, '-f', 'txt,json,pdf', '--json', ...short]);
  assert.equal(second.code, 3, second.err);
  assert.match(second.err, /gone.png: there is no such file/);
  assert.match(second.err, /broken.png: /);
  assert.equal(JSON.parse(second.out).unchanged, 4);
  assert.deepEqual(filesIn(out), files);
});

test('read --out: a text layer is taken only when asked for; the searchable PDF has one', async () => {
  const source = write(join(scratch, 'scan.pdf'), await picturePdf([await strip(2, 300)]));
  const out = join(scratch, 'scan-out');
  const read = (to: string, path: string, ...more: string[]) => runCli(['read', path, '--out', to, ...short, ...more]);
  assert.equal((await read(out, source, '--dpi', '150', '-f', 'pdf,txt')).code, 0);
  const made = join(scratch, 'made.pdf');
  cpSync(join(out, 'scan.pdf'), made);
  const layer = join(scratch, 'layer');
  assert.equal((await read(layer, made, '--dpi', '150', '--text-layer', '-f', 'json')).code, 0);
  const [page] = JSON.parse(readFileSync(join(layer, 'made.json'), 'utf8')).pages;
  assert.equal(page.origin, 'text-layer');
  assert.ok(page.lines.length > 3);
  const again = join(scratch, 'again');
  assert.equal((await read(again, made, '--dpi', '150', '-f', 'json')).code, 0);
  assert.equal(JSON.parse(readFileSync(join(again, 'made.json'), 'utf8')).pages[0].origin, undefined);
});

test('read --out: over an input nothing is written, exit 2; a file of somebody else is one failure, exit 3, unless --overwrite', async () => {
  const here = join(scratch, 'here');
  const pdf = await picturePdf([await strip(2, 300)]);
  const source = write(join(here, 'scan.pdf'), pdf);
  const over = await runCli(['read', source, '--out', here, '-f', 'txt,pdf', ...short]);
  assert.equal(over.code, 2, over.err);
  assert.match(over.err, /scan\.pdf is the input .*, which would be lost; name another directory or other formats/);
  assert.deepEqual(readFileSync(source), pdf);
  const text = write(join(here, 'scan.txt'), 'by hand');
  const page = join(folder, '0.png');
  const read = (...more: string[]) => runCli(['read', source, page, '--out', here, '--dpi', '150', ...short, ...more]);
  const kept = await read();
  assert.equal(kept.code, 3, kept.err);
  assert.match(kept.err, /scan\.txt: is there, and this job did not write it; .*: --overwrite\n/);
  assert.match(kept.err, /1 documents written/);
  assert.equal(readFileSync(text, 'utf8'), 'by hand');
  const replaced = await read('--overwrite');
  assert.equal(replaced.code, 0, replaced.err);
  assert.notEqual(readFileSync(text, 'utf8'), 'by hand');
});

test('read --out: nothing to read is wrong input; what is passed over is said once; nothing left to do is neither', async () => {
  const mixed = join(scratch, 'mixed');
  for (const name of ['b.bmp', 'c.BMP', 'deep/d.avif', 'README']) write(join(mixed, name), 'not read');
  const out = join(scratch, 'mixed-out');
  const read = (path: string, ...more: string[]) => runCli(['read', path, '--out', out, ...short, ...more]);
  const none = await read(mixed);
  assert.equal(none.code, 2, none.err);
  assert.match(
    none.err,
    /^varyclip: nothing to read: there is nothing in .*mixed; 4 files passed over: without an ending, \.avif, \.bmp; .*\.pdf or \.tar\n$/,
  );
  const tar = await read(write(join(scratch, 'empty.tar'), new Uint8Array(1024)));
  assert.equal(tar.code, 2, tar.err);
  const list = await runCli(['read', '--list', '-', '--out', out, ...short]);
  assert.equal(list.code, 2, list.err);
  assert.match(list.err, /nothing to read: no path was named/);
  assert.ok(!existsSync(out));
  const stdin = await read('-');
  assert.deepEqual([stdin.code, /takes files, not standard input/.test(stdin.err)], [2, true], stdin.err);

  // A file without a byte is no archive, and that is said of it as of a picture.
  const cut = write(join(scratch, 'cut.tar'), '');
  const nothing = await runCli(['read', cut, '--out', join(scratch, 'cut-out'), ...short]);
  assert.deepEqual([nothing.code, /expected an archive, got an empty file/.test(nothing.err)], [3, true], nothing.err);

  write(join(mixed, 'a.png'), await strip(0));
  const empty = await read(mixed, '--shards', '2', '--shard', '1');
  assert.deepEqual([empty.code, /passed over/.test(empty.err)], [0, false], empty.err);
  const whole = await read(mixed, '--shards', '2', '--shard', '0');
  assert.equal(whole.code, 0, whole.err);
  assert.equal(whole.err.match(/4 files passed over: without an ending, \.avif, \.bmp/g)?.length, 1);
  const again = await read(mixed, '--json');
  assert.equal(again.code, 0, again.err);
  assert.deepEqual(JSON.parse(again.out).job.passedOver, { '': 1, '.bmp': 2, '.avif': 1 });
});

test('read --html: pictures and texts side by side, and nothing else changes', async () => {
  const html = join(scratch, 'page.html');
  const { code, out } = await runCli(['read', join(folder, '0.png'), ...one, '--html', html]);
  assert.equal(code, 0);
  const page = readFileSync(html, 'utf8');
  assert.match(page, /<img src="data:image\/jpeg;base64,/);
  assert.match(page, /<rect x="\d+"/);
  assert.ok(out.length > 0);
});

test('read: options of a job without one, and the other way round, are wrong; a whole-page model reads into files too', async () => {
  const wrong = async (args: readonly string[], message: RegExp) => {
    const { code, err } = await runCli(['read', ...args]);
    assert.equal(code, 2, err);
    assert.match(err, message);
  };
  const page = join(folder, '0.png');
  await wrong([page, '-m', model, '--format', 'pdf'], /--format goes with --out DIR/);
  await wrong([page, '-m', model, '--overwrite'], /--overwrite goes with --out DIR/);
  await wrong([page, '-m', model, '-o', join(scratch, 'x'), '--seed', '1'], /--seed does not go with --out/);
  await wrong([page, '-m', model, '-o', join(scratch, 'x'), '--format', 'doc'], /--format: expected some of txt, md/);
  await wrong([folder, '-m', model, '-o', join(folder, 'out')], /lies in .*, so what is written would be read/);
  await wrong([page, '-m', model, '-o', join(scratch, 'x'), '--shards', '2'], /say which one this is/);
  const out = join(scratch, 'whole');
  const tiny = await runCli([
    'read',
    page,
    '-m',
    examplePath('tiny-vary'),
    '-o',
    out,
    '-t',
    '1',
    '-j',
    '1',
    '--max-new-tokens',
    '4',
    '-f',
    'txt,pdf,hocr',
  ]);
  assert.equal(tiny.code, 0, tiny.err);
  assert.ok(existsSync(join(out, '0.pdf')));
  const alone = await runCli(['read', page, '-m', examplePath('tiny-vary'), '-t', '1', '--max-new-tokens', '4']);
  assert.equal(readFileSync(join(out, '0.txt'), 'utf8'), alone.out);
});
