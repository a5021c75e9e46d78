import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { JsonObject } from '../../src/core/json.js';
import { builtinFolder } from '../../src/node/builtin-models.js';
import { parseRun, runSchema } from '../../src/node/training/run-file.js';

const parse = (json: JsonObject) => parseRun(json, { where: 'run.json', base: '/base' });
const lines = { task: 'ctc', start: 'start', out: 'out', steps: 10 };
const conversations = { task: 'conversations', start: 's', out: 'o', steps: 10, data: [{ file: 'a.json' }] };

test('the schema in runs/ is what the table of fields says', () => {
  assert.deepEqual(JSON.parse(readFileSync('runs/run.schema.json', 'utf8')), JSON.parse(JSON.stringify(runSchema())));
});

test('a run starts from a built-in model by its name', () => {
  assert.equal(parse({ ...lines, start: 'vary-nano' }).start, builtinFolder('vary-nano'));
});

test('every run file of the project is one', () => {
  const files = readdirSync('runs', { recursive: true, encoding: 'utf8' }).filter((name) =>
    /^(vary|clip)-nano\/[a-z]+\.json$/.test(name),
  );
  assert.ok(files.length >= 3);
  for (const file of files) {
    parseRun(JSON.parse(readFileSync(join('runs', file), 'utf8')) as JsonObject, { where: file, base: 'runs' });
  }
});

test('a run of two towers: defaults, paths of its data and of what it is examined on', () => {
  const run = parse({
    task: 'contrastive',
    start: 's',
    out: 'o',
    steps: 10,
    data: [{ file: 'rows.tsv', images: 'pictures', separator: ';' }, { file: 'part-{0..3}.tar' }],
    augment: { scale: [0.5, 1] },
    evaluation: { held: { file: 'held.jsonl', labelsFrom: 'all.jsonl', limit: 5 } },
  });
  assert.deepEqual(run, {
    task: 'contrastive',
    start: '/base/s',
    out: '/base/o',
    seed: 1,
    batchSize: 128,
    accumulate: 1,
    learningRate: 1e-3,
    schedule: 'cosine',
    weightDecay: 0.1,
    beta1: 0.9,
    beta2: 0.98,
    maxGradNorm: 1,
    groups: [],
    logEvery: 20,
    evaluateEvery: 500,
    saveEvery: 500,
    keep: 2,
    maxCompiled: 12,
    steps: 10,
    views: 1,
    buffer: 1000,
    imageWeight: 0,
    data: [
      { file: '/base/rows.tsv', images: '/base/pictures', separator: ';', weight: 1 },
      { file: '/base/part-{0..3}.tar', weight: 1 },
    ],
    augment: { scale: [0.5, 1] },
    evaluation: { held: { file: '/base/held.jsonl', labelsFrom: '/base/all.jsonl', limit: 5 } },
  });
});

test('defaults, and paths relative to the file', () => {
  const run = parse({
    ...conversations,
    data: [
      { file: 'a.json', images: 'pages' },
      { file: '/b.json', weight: 2 },
    ],
  });
  assert.deepEqual(run, {
    task: 'conversations',
    start: '/base/s',
    out: '/base/o',
    seed: 1,
    batchSize: 1,
    accumulate: 1,
    workers: 2,
    learningRate: 5e-5,
    schedule: 'cosine',
    weightDecay: 0.01,
    beta1: 0.9,
    beta2: 0.999,
    maxGradNorm: 1,
    groups: [],
    dropout: 0,
    attentionDropout: 0,
    activationCheckpointing: false,
    logEvery: 20,
    evaluateEvery: 500,
    saveEvery: 500,
    keep: 2,
    maxCompiled: 12,
    steps: 10,
    data: [
      { file: '/base/a.json', images: '/base/pages', weight: 1 },
      { file: '/b.json', weight: 2 },
    ],
    shuffle: true,
    augment: false,
    maxBad: 0,
    template: 'conversation',
    turnSignal: '',
    roles: {},
  });
  assert.deepEqual(parse({ ...lines, $schema: '../run.schema.json' }), {
    ...parse(lines),
    stages: [{ fromBatch: 0 }],
    evaluationLines: 64,
  });
});

const wrong: readonly (readonly [JsonObject, RegExp])[] = [
  [{ ...lines, task: 'dance' }, /task: expected ctc, read, conversations, contrastive, got "dance"/],
  [{ ...lines, lerningRate: 1 }, /run\.json: unknown field lerningRate; there are task, start/],
  [{ ...lines, data: [] }, /unknown field data/],
  [{ ...lines, start: undefined }, /start: expected a path, got nothing/],
  [{ ...lines, out: '' }, /out: expected a path, got ""/],
  [{ ...lines, steps: 1.5 }, /steps: expected a whole number above 0, got 1\.5/],
  [{ ...lines, steps: '10' }, /steps: expected a whole number above 0, got "10"/],
  [{ ...lines, schedule: 'zigzag' }, /schedule: expected one of cosine, linear/],
  [{ ...lines, beta1: 1 }, /beta1: expected a number from 0 below 1, got 1/],
  [{ ...lines, dropout: -0.1 }, /dropout: expected a number from 0 below 1, got -0\.1/],
  [{ ...lines, maxGradNorm: 'none' }, /maxGradNorm: expected a number from 0, got "none"/],
  [{ ...lines, activationCheckpointing: 1 }, /activationCheckpointing: expected true or false, got 1/],
  [{ ...lines, stages: [] }, /stages: expected a list of at least 1, got \[\]/],
  [{ ...lines, stages: [{ fromBatch: 0, maxWord: 3 }] }, /stages\[0\]: unknown field maxWord/],
  [{ ...lines, stages: [{ fromBatch: 0, unknown: 3 }] }, /stages\[0\]: unknown: expected a number from 0 to 1, got 3/],
  [{ ...lines, stages: [{ fromBatch: 8 }] }, /stages\[0\]: fromBatch: expected 0 in the first stage, got 8/],
  [{ ...lines, stages: [{ fromBatch: 0 }, { fromBatch: 0 }] }, /stages\[1\]: fromBatch: expected more than the 0 of/],
  [{ ...lines, stages: [{ fromBatch: 0, minWords: 5, maxWords: 2 }] }, /minWords 5 is more than maxWords 2/],
  [{ ...lines, maxCompiled: 0 }, /maxCompiled: expected/],
  [{ ...lines, groups: [{ frozen: true }] }, /groups\[0\]: match: expected text, got nothing/],
  [{ ...lines, groups: [{ match: '(' }] }, /groups: match: "\(": Invalid regular expression/],
  [{ ...lines, earlyStop: 3 }, /earlyStop: expected a JSON object, got 3/],
  [{ ...conversations, data: [] }, /data: expected a list of at least 1/],
  [{ ...conversations, data: [{ fil: 'a' }] }, /data\[0\]: unknown field fil/],
  [{ ...conversations, data: [{ file: 'a', weight: -1 }] }, /data\[0\]: weight: expected a number from 0, got -1/],
  [{ ...conversations, epochs: 2 }, /expected steps or epochs, and not both/],
  [{ ...conversations, steps: undefined }, /expected steps or epochs, and not both/],
  [{ ...conversations, template: 'vicuna' }, /template: expected one of conversation, plain, got "vicuna"/],
  [{ ...conversations, template: 'plain', turnSignal: '### ' }, /turnSignal goes with template "conversation" only/],
  [{ ...conversations, roles: { bot: 'robot' } }, /roles\.bot: expected one of human, gpt, got "robot"/],
  [{ ...conversations, imageAspectRatio: 'wide' }, /imageAspectRatio: expected one of square, keep, pad/],
  [{ ...conversations, evaluation: { samples: 3 } }, /evaluation: data: expected a list of at least 1, got nothing/],
];
for (const [json, message] of wrong) {
  test(`refused: ${message.source}`, () => {
    assert.throws(
      () => parse(json),
      (error) => {
        assert.ok(error instanceof InputError);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}
