import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { templateSets } from '../../src/infer/template-sets.js';
import { assertAllclose } from '../helpers/allclose.js';
import { type CliResult, runCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { fixturePath } from '../helpers/fixtures.js';

const bin = fileURLToPath(new URL('../../../bin/varyclip.js', import.meta.url));
const model = ['--model', withTokenizer('clip/ckpt-modern'), '--threads', '2'];
const image = fixturePath('clip-image-processor/images/rgb.png');
const other = fixturePath('clip-image-processor/images/tiny.png');

function run(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

const lines = (out: string) =>
  out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('classify: labels with scores, best first', () => {
  const { code, out } = run('classify', image, '--labels', 'cat, dog,bird', '--top', '2', ...model);
  assert.equal(code, 0);
  assert.match(out, /^\d\.\d{4}\t(cat|dog|bird)\n\d\.\d{4}\t(cat|dog|bird)\n$/);
});

test('classify: several images, one missing: the others are done, exit 3', () => {
  const labels = join(temporaryFolder(), 'labels.txt');
  writeFileSync(labels, 'cat\ndog\n\n');
  const templates = ['--template', 'a {}', '--template', 'the {}'];
  const args = ['classify', image, '/nowhere.png', other, '--labels-file', labels, '--json', ...templates, ...model];
  const { code, out, err } = run(...args);
  assert.equal(code, 3);
  assert.deepEqual(
    lines(out).map((line) => line['image']),
    [image, other],
  );
  const [{ labels: ranked }] = lines(out) as { labels: { label: string; score: number }[] }[];
  assert.ok(Math.abs(ranked[0].score + ranked[1].score - 1) < 1e-6);
  assert.match(err, /nowhere\.png/);
});

test('classify: wrong usage is exit 2 and says what is missing', () => {
  assert.match(run('classify', image, ...model).err, /give labels/);
  assert.match(run('classify', '--labels', 'a', ...model).err, /at least one image/);
  assert.match(run('classify', image, '--labels', 'a,a', ...model).err, /"a" occurs twice/);
  assert.match(run('classify', image, '--labels', 'a', '--templates', 'nope', ...model).err, /expected one of photo/);
  const { code, err } = run('classify', image, '--labels', 'a', '--model', 'examples/tiny-vary');
  assert.equal(code, 2);
  assert.match(err, /is a vary checkpoint; classify needs CLIP/);
  assert.equal(run('classify', '/nowhere.png', '--labels', 'a', ...model).code, 2);
});

test('embed: unit vectors of images and texts; a text too long is cut only when asked', () => {
  const { code, out } = run('embed', image, other, '--text', 'a cat', '--text', 'a dog', '--json', ...model);
  assert.equal(code, 0);
  const items = lines(out) as { image?: string; text?: string; embedding: number[] }[];
  assert.deepEqual(
    items.map((item) => item.image ?? item.text),
    [image, other, 'a cat', 'a dog'],
  );
  for (const { embedding } of items) assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-5);
  const long = 'the '.repeat(60);
  const refused = run('embed', '--text', long, ...model);
  assert.equal(refused.code, 2);
  assert.match(refused.err, /shorten it or set truncate \(--truncate\)\n/);
  const cut = run('embed', '--text', long, '--truncate', '--json', ...model);
  assert.equal(cut.code, 0);
  assert.equal(lines(cut.out)[0]['truncated'], true);
  assert.match(cut.err, /was cut to 32 tokens/);
});

test('embed over two processes: a file each, which together have the lines of one; what only one can do is refused', async () => {
  const dir = temporaryFolder();
  const list = join(dir, 'list.txt');
  writeFileSync(list, `${other}\n${image}\n`);
  const named = [image, '--list', list, '--text', 'a cat', '--json', ...model];
  const alone = lines((await runCli(['embed', ...named])).out);
  assert.equal(alone.length, 4);
  const rank = (number: string, ...args: string[]) =>
    runCli(['embed', ...named, ...args, '--shards', '2', '--shard', number]);
  const out = ['--out', join(dir, 'vectors.jsonl')];
  for (const number of ['0', '1']) assert.equal((await rank(number, ...out)).code, 0);
  const [first, second] = [0, 1].map((number) => lines(readFileSync(join(dir, `vectors.${number}.jsonl`), 'utf8')));
  // Every second image; the text is the first process's.
  const together = [first[0], second[0], first[1], first[2]];
  assert.deepEqual([first.length, second.length], [3, 1]);
  for (const [i, { embedding, ...item }] of together.entries()) {
    const { embedding: expected, ...other } = alone[i];
    assert.deepEqual(item, other);
    assertAllclose(embedding as number[], expected as number[], { atol: 1e-6, rtol: 0 });
  }
  const visible = readdirSync(dir).filter((name) => !name.startsWith('.'));
  assert.deepEqual(visible.sort(), ['list.txt', 'vectors.0.jsonl', 'vectors.1.jsonl']);
  const refused = (message: RegExp, { code, err }: CliResult) => {
    assert.equal(code, 2);
    assert.match(err, message);
  };
  refused(/say where: --out FILE/, await rank('0'));
  refused(/--matrix: is drawn by one process/, await rank('0', '--matrix', join(dir, 'a.svg')));
  refused(/not standard input/, await rank('0', '-', ...out));
  refused(/expected a rank from 0/, await rank('2', ...out));
  refused(/--matrix does not go with --out/, await runCli(['embed', ...named, ...out, '--matrix', join(dir, 'a.svg')]));
});

test('embed --out: what was ended goes on behind its last batch to the same bytes; what changed is done anew and said', async () => {
  const dir = temporaryFolder();
  const images = Array.from({ length: 20 }, (_, i) => join(dir, `${i}.png`));
  for (const [i, path] of images.entries()) cpSync(i % 2 === 0 ? image : other, path);
  const broken = join(dir, 'broken.png');
  writeFileSync(broken, 'no picture');
  const named = ['embed', broken, ...images, '--text', 'a cat', ...model];
  const into = (name: string, ...args: string[]) => runCli([...named, '--out', join(dir, name), ...args]);
  assert.equal((await into('unbroken')).code, 3);
  const unbroken = readFileSync(join(dir, 'unbroken'));
  // A process that ended in its third batch: two are in the job file, a part of the third's lines is written, its entry is torn.
  const job = readFileSync(join(dir, '.unbroken.job'), 'utf8').split('\n');
  const ended = (name: string) => {
    const { end } = JSON.parse(job[2]) as { end: number };
    writeFileSync(join(dir, `.${name}.job`), `${job.slice(0, 3).join('\n')}\n${job[3].slice(0, 40)}`);
    writeFileSync(join(dir, `.${name}.part`), unbroken.subarray(0, end + 100));
  };
  ended('resumed');
  const resumed = await into('resumed');
  assert.equal(resumed.code, 3);
  assert.match(resumed.err, /broken\.png/);
  assert.match(resumed.err, /goes on behind 17 of 21 images/);
  assert.deepEqual(readFileSync(join(dir, 'resumed')), unbroken);
  assert.match((await into('resumed')).err, /has all its lines already/);
  assert.match((await into('resumed', '--json')).err, /settings are others: what follows is embedded anew/);
  ended('changed');
  cpSync(other, images[9]);
  const changed = await into('changed');
  assert.match(changed.err, /9\.png was changed.*\n.*goes on behind 9 of 21 images/);
  assert.equal((await into('afresh')).code, 3);
  assert.deepEqual(readFileSync(join(dir, 'changed')), readFileSync(join(dir, 'afresh')));
  assert.equal((await into('.')).code, 2);
});

test('every template of the sets has a place for the label', () => {
  for (const [name, templates] of Object.entries(templateSets)) {
    assert.ok(templates.length > 0 && new Set(templates).size === templates.length, name);
    for (const template of templates) assert.equal(template.split('{}').length, 2, template);
  }
});

test('inspect tells of a CLIP checkpoint; quantize refuses it; a single file that is no model is refused', () => {
  const told = run('inspect', model[1], '--json');
  assert.equal(told.code, 0, told.err);
  assert.match(JSON.parse(told.out).architecture, /^clip: image tower \d+×\d+.*text tower.*embeddings of \d+/);
  const refused = run('quantize', model[1], '--precision', 'int8', '--out', join(temporaryFolder(), 'out'));
  assert.equal(refused.code, 2);
  assert.match(refused.err, /is a CLIP checkpoint, which has no decoder/);
  assert.equal(run('inspect', image).code, 2);
  assert.equal(run('embed', '--text', 'a', '--model', image).code, 2);
});

test('a CLIP model is found in the cache by its name', () => {
  const cache = temporaryFolder();
  const commit = '0'.repeat(40);
  const repo = join(cache, 'models--org--clip');
  cpSync(model[1], join(repo, 'snapshots', commit), { recursive: true });
  mkdirSync(join(repo, 'refs'));
  writeFileSync(join(repo, 'refs', 'main'), commit);
  const env = { ...process.env, HF_HUB_CACHE: cache };
  const args = [bin, 'embed', '--text', 'a cat', '--json', '--model', 'org/clip', '--threads', '2'];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env });
  assert.equal(status, 0, stderr);
});
