import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSessionDecoder, type Prompt } from '../../src/infer/decoder.js';
import { cachedDecoderGraph, optFamily } from '../../src/models/graphs.js';
import { optConfigFrom } from '../../src/models/opt.js';
import { randomTensors } from '../../src/node/init-vary.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { assertAllclose } from '../helpers/allclose.js';
import { wideOpt } from '../helpers/checkpoints.js';
import { weightsFrom } from '../helpers/run-graph.js';

const config = optConfigFrom(wideOpt, 'config.json');
const graph = cachedDecoderGraph(optFamily(config));
const session = await createRuntime({ threads: 2 }).compile(graph, {
  weights: weightsFrom(new Map(randomTensors([graph], 5))),
});
const { width, maxPositions } = config;
const decoder = createSessionDecoder(session, { width, maxPositions, withImages: false });
const close = { atol: 1e-5, rtol: 1e-4 };

test('a draft is scored as its tokens would be one by one, and a row goes on from what is accepted of it', async () => {
  const prompts: Prompt[] = [
    { ids: [2, 7, 9], draft: [30, 31, 32, 33] },
    { ids: [2, 8, 10] },
    { ids: [2, 11, 5], draft: [40, 41] },
  ];
  const drafted = decoder.openSlots(4);
  const scored = await drafted.fill(1, prompts, 20);
  assert.deepEqual(
    scored.map((logits) => logits.length),
    [5, 1, 3],
  );
  const plain = decoder.openSlots(4);
  const first = await plain.fill(
    1,
    prompts.map(({ ids }) => ({ ids })),
    20,
  );
  const check = (got: Float32Array, wanted: Float32Array) => assertAllclose(got, wanted, close);
  first.forEach(([logits], row) => check(scored[row][0], logits));

  // Two of the first row's draft are taken, all of the third's.
  drafted.accept(1, 2);
  drafted.accept(3, 2);
  const second = await plain.step([null, 30, null, 40]);
  check(scored[0][1], second[1]);
  check(scored[2][1], second[3]);
  const third = await plain.step([null, 31, null, 41]);
  check(scored[0][2], third[1]);
  check(scored[2][2], third[3]);

  const [got, wanted] = [await drafted.step([null, 50, null, 52]), await plain.step([null, 50, null, 52])];
  for (const row of [1, 3]) check(got[row], wanted[row]);
  const [after, wantedAfter] = [await drafted.step([null, 60, null, 62]), await plain.step([null, 60, null, 62])];
  for (const row of [1, 3]) check(after[row], wantedAfter[row]);
  drafted.dispose();
  plain.dispose();
});

test('a prompt and its draft must fit the positions', async () => {
  const batch = decoder.openSlots(1);
  const ids = Array<number>(maxPositions - 2).fill(5);
  const [logits] = await batch.fill(0, [{ ids, draft: [6, 7] }], maxPositions);
  assert.equal(logits.length, 3);
  await assert.rejects(
    batch.fill(0, [{ ids, draft: [6, 7, 8] }], maxPositions),
    /has 65 tokens, the model has 64 positions/,
  );
  batch.dispose();
});
