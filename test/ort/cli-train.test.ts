import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import type { JsonObject } from '../../src/core/json.js';
import { copySideFiles } from '../../src/node/checkpoint-files.js';
import { ownIdentity } from '../../src/node/process-identity.js';
import { openSafetensors, safetensorsChunks } from '../../src/weights/safetensors.js';
import { memorySource } from '../../src/weights/source.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { runCli, startCli } from '../helpers/cli.js';
import { checkpoint, conversationFolder } from '../helpers/conversations.js';
import { tensorsAt } from '../helpers/training.js';

const base = scratchDir();
const { file } = await conversationFolder(4);
const common = {
  task: 'conversations',
  start: resolve(checkpoint),
  data: [{ file }],
  steps: 6,
  batchSize: 2,
  warmupSteps: 1,
  learningRate: 1e-3,
  workers: 0,
  logEvery: 1,
  saveEvery: 2,
  evaluateEvery: 3,
  evaluation: { data: [{ file }], samples: 2, readings: 1, maxNewTokens: 4 },
};

function runFile(name: string, json: JsonObject): string {
  const path = join(base, `${name}.json`);
  writeFileSync(path, JSON.stringify({ ...common, out: name, ...json }));
  return path;
}

const metricsOf = (name: string) =>
  readFileSync(join(base, name, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JsonObject);

test('a dry run says what would happen, takes a step and writes nothing', async () => {
  const { code, out, err } = await runCli(['train', runFile('dry', {}), '--dry-run', '--threads', '2']);
  assert.equal(code, 0, err);
  assert.match(
    out,
    /task conversations, from .*tiny-vary\n4 samples in 1 file\(s\), 4 per epoch\n3\.00 epochs, 2 samples a step\n2 held-out samples\n/,
  );
  assert.match(
    out,
    /6 steps of 1 × 2 samples\nwould begin in .*dry\nfirst step: loss \d+\.\d{4}, gradient norm \d+\.\d+\nnothing was saved\n/,
  );
  assert.ok(!existsSync(join(base, 'dry')));
});

test('a run leaves two checkpoints, its figures and a report; told to run again it has nothing to do', async () => {
  const path = runFile('whole', {});
  const { code, err } = await runCli(['train', path, '--threads', '2']);
  assert.equal(code, 0, err);
  assert.match(err, /step 6\/6 {2}loss \d+\.\d{4} {2}rate \d\.\d\de-\d {2}\d+ tokens\/s {2}0 s left\n/);
  assert.match(
    err,
    /step 3: held-out loss \d\.\d{4}, cer \d\.\d{4} {2}e\.g\. \{"name":".*data\.json:2","truth":"page 0"/,
  );
  assert.match(err, /varyclip: done; saved .*checkpoint-6\n$/);
  assert.deepEqual(readdirSync(join(base, 'whole')).sort(), [
    'checkpoint-4',
    'checkpoint-6',
    'metrics.jsonl',
    'report.html',
  ]);
  const metrics = metricsOf('whole');
  assert.deepEqual(
    metrics.map(({ step }) => step),
    [1, 2, 3, 3, 4, 5, 6, 6],
  );
  for (const name of ['loss', 'gradNorm', 'learningRate', 'smooth', 'perSecond', 'waited']) {
    assert.equal(typeof metrics[0][name], 'number', name);
  }
  const report = readFileSync(join(base, 'whole', 'report.html'), 'utf8');
  assert.match(report, /held-out loss/);
  assert.match(report, /<td>6<\/td><td>page 0<\/td>/);
  assert.ok(!report.includes('<script') && !/(src|href)=/.test(report));
  const before = tensorsAt(join(base, 'whole', 'checkpoint-6'));
  const again = await runCli(['train', path, '--threads', '2']);
  assert.equal(again.code, 0, again.err);
  assert.match(again.err, /goes on from .*checkpoint-6/);
  assert.equal(tensorsAt(join(base, 'whole', 'checkpoint-6')), before);
});

test('interrupted, it saves and exits with 130; going on says what is done again, and ends in the same bits', async () => {
  const path = runFile('parts', {});
  const controller = new AbortController();
  let shown = 0;
  const stop = (text: string) => {
    if (/^\r?.*step \d+\/6/.test(text) && ++shown === 1) controller.abort();
  };
  const first = await runCli(['train', path, '--threads', '2'], { signal: controller.signal, err: stop });
  assert.equal(first.code, 130);
  assert.equal(metricsOf('parts').at(-1)?.['step'], 1);
  // As if it had been killed two steps later.
  const more = [2, 3].map((step) => `${JSON.stringify({ step, loss: 1 })}\n`).join('');
  writeFileSync(join(base, 'parts', 'metrics.jsonl'), more, { flag: 'a' });
  const second = await runCli(['train', path, '--threads', '2']);
  assert.equal(second.code, 0, second.err);
  assert.match(second.err, /goes on from .*checkpoint-1\nvaryclip: steps 2 to 3 were not saved and are done again\n/);
  assert.deepEqual(
    metricsOf('parts').map(({ step }) => step),
    [1, 2, 3, 3, 4, 5, 6, 6],
  );
  assert.equal(tensorsAt(join(base, 'parts', 'checkpoint-6')), tensorsAt(join(base, 'whole', 'checkpoint-6')));
});

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`the program: ${signal} saves after the step under way and ends with ${code}`, async () => {
    const path = runFile(signal, { steps: 100_000, evaluateEvery: 100_000, saveEvery: 100_000 });
    const { child, done } = startCli(['train', path, '--threads', '1']);
    child.stderr.on('data', (text: Buffer) => text.includes('step 1/') && child.kill(signal));
    const ended = await done;
    assert.equal(ended.code, code, ended.err);
    const saved = /varyclip: interrupted; saved .*checkpoint-(\d+)\n$/.exec(ended.err);
    assert.ok(saved, ended.err);
    assert.deepEqual(readdirSync(join(base, signal)).sort(), [
      `checkpoint-${saved[1]}`,
      'metrics.jsonl',
      'report.html',
    ]);
    assert.equal(metricsOf(signal).at(-1)?.['step'], Number(saved[1]));
  });
}

test('a run whose held-out loss no longer falls ends early, also across an interruption', async () => {
  const json = { learningRate: 0, steps: 50, evaluateEvery: 1, earlyStop: { evaluations: 3 } };
  const { code, err } = await runCli(['train', runFile('early', json), '--threads', '2']);
  assert.equal(code, 0, err);
  assert.match(err, /varyclip: no longer improves; saved .*checkpoint-4\n/);
  const progress = JSON.parse(readFileSync(join(base, 'early', 'checkpoint-4', 'trainer.json'), 'utf8')) as JsonObject;
  assert.equal((progress['watch'] as JsonObject)['since'], 3);
  const again = await runCli(['train', join(base, 'early.json'), '--threads', '2']);
  assert.match(again.err, /no longer improves; saved .*checkpoint-4\n/);
});

test('two runs do not train into one folder; the lock of a dead process does not hold, and none stays', async () => {
  const path = runFile('shared', { steps: 1, evaluation: undefined });
  const lock = join(base, 'shared', 'lock');
  const other = spawn('sleep', ['600']);
  try {
    mkdirSync(join(base, 'shared'));
    writeFileSync(lock, `${other.pid} ${ownIdentity().host}`);
    const { code, err } = await runCli(['train', path, '--threads', '1']);
    assert.equal(code, 2, err);
    assert.match(err, new RegExp(`^varyclip: .*shared: process ${other.pid} is training there; .* "out"\n$`));
    assert.deepEqual(readdirSync(join(base, 'shared')), ['lock']);
    const dry = await runCli(['train', path, '--threads', '1', '--dry-run']);
    assert.equal(dry.code, 0, dry.err);
  } finally {
    other.kill();
    await once(other, 'exit');
  }
  const { code, err } = await runCli(['train', path, '--threads', '1']);
  assert.equal(code, 0, err);
  assert.ok(!existsSync(lock));
});

test('a run that is refused leaves no folder', async () => {
  const { code, err } = await runCli([
    'train',
    runFile('refused', { start: join(base, 'no-model') }),
    '--threads',
    '1',
  ]);
  assert.equal(code, 2, err);
  assert.ok(!existsSync(join(base, 'refused')));
});

test('a loss that is no number stops the run: the batch is named, the last good checkpoint kept', async () => {
  // A position that only the long sample reaches is broken.
  const broken = join(base, 'broken');
  const source = resolve(checkpoint);
  const weights = await openSafetensors(memorySource('model', readFileSync(join(source, 'model.safetensors'))));
  const tensors = await Promise.all(weights.names.map(async (name) => [name, await weights.read(name)] as const));
  const table = tensors.find(([name]) => name.includes('embed_positions'))?.[1];
  assert.ok(table?.data instanceof Float32Array);
  table.data.fill(Number.NaN, 60 * table.shape[1]);
  mkdirSync(broken);
  copySideFiles(source, broken);
  writeFileSync(
    join(broken, 'model.safetensors'),
    Buffer.concat([...safetensorsChunks(tensors.map(([name, tensor]) => [name, tensor]))]),
  );
  const turns = (value: string) => ({
    conversations: [
      { from: 'human', value: 'Go.' },
      { from: 'gpt', value },
    ],
  });
  const data = join(base, 'long.json');
  writeFileSync(
    data,
    `[\n${[turns('a'), turns('b'), turns('c'), turns('long '.repeat(30))].map((item) => JSON.stringify(item)).join(',\n')}\n]`,
  );
  const json = { start: broken, data: [{ file: data }], shuffle: false, batchSize: 1, evaluation: undefined };
  const { code, err } = await runCli(['train', runFile('nan', json), '--threads', '2']);
  assert.equal(code, 2);
  assert.match(
    err,
    /step 4 has loss NaN .*the batch of rank 0: .*long\.json:5; the last good checkpoint is .*checkpoint-2/,
  );
  assert.deepEqual(readdirSync(join(base, 'nan')).sort(), ['checkpoint-2', 'metrics.jsonl', 'report.html']);
  assert.match(readFileSync(join(base, 'nan', 'report.html'), 'utf8'), /class="alarm">training: step 4 has loss NaN/);
});

test('on a terminal progress is one line that each step overwrites', async () => {
  const { err } = await runCli(['train', runFile('terminal', { steps: 2, evaluation: undefined }), '--threads', '2'], {
    isTerminal: true,
  });
  const shown = err.replaceAll('\r\u001b[K', '<again>');
  assert.match(shown, /^<again>step 1\/2 {2}[^\n]*<again>step 2\/2 {2}[^\n]* left\nvaryclip: done/);
});
