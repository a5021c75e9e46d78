import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkpoint, conversationFolder } from '../helpers/conversations.js';

const bin = fileURLToPath(new URL('../../../bin/varyclip.js', import.meta.url));

function run(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'data', ...args], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

const human = (value: string) => ({ from: 'human', value });
const gpt = (value: string) => ({ from: 'gpt', value });

test('data check: every kind of problem with its line, exit 3', async () => {
  const long = { conversations: [human('hi'), gpt('word '.repeat(200))] };
  const late = { conversations: [human('word '.repeat(200)), gpt('end')] };
  const more = [
    { image: 'nowhere.png', conversations: [human('<image>'), gpt('x')] },
    { image: 'cut.png', conversations: [human('<image>'), gpt('x')] },
    { conversations: [{ from: 'bot', value: 'x' }] },
    long,
    late,
  ];
  const { file, folder } = await conversationFolder(2, more);
  writeFileSync(join(folder, 'cut.png'), readFileSync(join(folder, '1.png')));
  truncateSync(join(folder, 'cut.png'), 60);
  const { code, out, err } = run('check', file, '--model', checkpoint);
  assert.equal(code, 3);
  const lines = out.trim().split('\n');
  const at = (line: number) => lines.filter((text) => text.startsWith(`${file}:${line}: `)).join('\n');
  assert.equal(at(2) + at(3), '');
  assert.match(at(4), /missing image: .*nowhere\.png/);
  assert.match(at(5), /unreadable image: .*cut\.png/);
  assert.match(at(6), /"bot"/);
  assert.match(at(7), /too long: \d+ tokens, at most 128/);
  assert.match(at(8), /too long[\s\S]*every label is masked/);
  assert.match(err, /7 samples, 4 images, 6 problems/);
  const { problems } = JSON.parse(run('check', file, '--json', '--no-decode').out) as { problems: unknown[] };
  assert.equal(problems.length, 2);
});

test('data check: a good file is exit 0; wrong usage and unreadable files are exit 2', async () => {
  const { file, folder } = await conversationFolder(2);
  assert.deepEqual([run('check', file).code, run('check', file, '--images', folder).out], [0, '']);
  assert.equal(run('check', join(folder, 'nowhere.json')).code, 2);
  assert.equal(run('look', file).code, 2);
  assert.match(run('check', file, '--max-length', '5').err, /needs a tokenizer/);
  writeFileSync(file, '[]');
  assert.match(run('check', file).err, /has no samples/);
  const page = join(folder, 'page.html');
  const show = () => run('show', file, '--model', checkpoint, '--out', page);
  const empty = show();
  assert.deepEqual([empty.code, existsSync(page)], [2, false], empty.err);
  assert.match(empty.err, /data\.json: has no samples\n/);
  writeFileSync(file, '[7]');
  assert.match(show().err, /data\.json: has no samples; line 1: /);
});

test('data show: a page with the pictures, and the learned text marked', async () => {
  const { file, folder } = await conversationFolder(2, [{ conversations: [human('a < b?'), gpt('yes & no')] }]);
  const out = join(folder, 'page.html');
  assert.equal(run('show', file, '--model', checkpoint, '--out', out, '--augment').code, 0);
  const page = readFileSync(out, 'utf8');
  assert.equal(page.match(/<img alt="" src="data:image\/png;base64,/g)?.length, 2);
  assert.match(page, /<mark>page 0\n<\/s>|<mark>page 0\n&lt;\/s&gt;<\/mark>/);
  assert.match(page, /&lt;imgpad&gt; × 9/);
  assert.match(page, /a &lt; b\?[\s\S]*<mark>yes &amp; no/);
  assert.doesNotMatch(page, /https?:\/\//);
});
