import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { evaluateSample, evaluationHtml, evaluationTable, summarise } from '../../src/output/evaluation.js';
import { makePipe } from '../helpers/places.js';

const sample = (name: string, reference: string, hypothesis: string) => evaluateSample({ name, reference, hypothesis });

test('white space counts as one space, unless it is asked for', () => {
  assert.equal(sample('a', 'one\n two', ' one two\n').metrics.editDistance, 0);
  const exact = evaluateSample({ name: 'a', reference: 'one\ntwo', hypothesis: 'one two' }, { exact: true });
  assert.equal(exact.metrics.editDistance, 1);
});

test('rates are by total length, not means of rates', () => {
  const summary = summarise([sample('short', 'ab', 'xy'), sample('long', 'abcdefgh', 'abcdefgh')]);
  assert.equal(summary.cer, 0.2);
  assert.equal(summary.normalisedEditDistance, 0.5);
  assert.equal(summary.exact, 1);
  assert.equal(summary.wer, 0.5);
  // Words that are read where there are none count as much as others.
  assert.equal(summarise([sample('right', 'a', 'a'), sample('blank', '', 'x y')]).wer, 2);
});

test('the table has a line per sample and one for all', () => {
  const lines = evaluationTable([sample('a.png', 'x', 'x'), sample('b.png', '', 'y')])
    .trimEnd()
    .split('\n');
  assert.equal(lines.length, 4);
  assert.match(lines[2], /^b\.png +– +– +1\.0000/);
  assert.match(lines[3], /^all/);
});

test('the page escapes what it shows and marks what differs', () => {
  const samples = [sample('<a>.png', 'see <b> here', 'see <i> here')];
  const html = evaluationHtml(samples, {
    title: 'T & U',
    pictures: new Map([['<a>.png', 'data:image/png;base64,AA==']]),
  });
  assert.ok(html.includes('see <mark>&lt;b&gt;</mark> here') && html.includes('see <mark>&lt;i&gt;</mark> here'));
  assert.ok(html.includes('T &amp; U') && html.includes('src="data:image/png;base64,AA=="'));
  assert.ok(!html.includes('<b>') && !/(src|href)="http/.test(html));
});

test('varyclip evaluate: figures of readings, a report, a missing reading', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evaluate-'));
  try {
    const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
    for (const [name, text] of Object.entries({ 'a.txt': 'good', 'b.txt': 'text', 'c.txt': 'lost' })) write(name, text);
    for (const name of ['a.png', 'b.png', 'c.png', 'd.png']) write(name, name);
    write('e.png', 'e.png');
    makePipe(join(folder, 'e.txt'));
    const other = mkdtempSync(join(folder, 'read-'));
    writeFileSync(join(other, 'a.txt'), 'good\n');
    writeFileSync(join(other, 'b.txt'), 'test');
    const report = join(folder, 'report.html');
    const program = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
    const args = [program, 'evaluate', folder, '--readings', other, '--json', '--report', report];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 120_000 });
    assert.equal(status, 3, stderr);
    const { summary, samples } = JSON.parse(stdout);
    assert.equal(summary.samples, 2);
    assert.equal(summary.failed, 2);
    assert.equal(summary.cer, 1 / 8);
    assert.equal(samples[1].metrics.editDistance, 1);
    assert.match(stderr, /c\.png/);
    assert.match(stderr, /d\.png: has no d\.txt/);
    assert.match(stderr, /e\.txt: expected a text file, got a pipe/);
    assert.match(readFileSync(report, 'utf8'), /<mark>test<\/mark>/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
