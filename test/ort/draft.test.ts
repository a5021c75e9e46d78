import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import { floats, type Tensor } from '../../src/core/tensor.js';
import { createSessionDecoder, type Prompt } from '../../src/infer/decoder.js';
import { greedyIds, mergedIds } from '../../src/models/draft.js';
import { cachedDecoderGraph, optFamily, towerFeeds, towerGraphs } from '../../src/models/graphs.js';
import { optConfigFrom } from '../../src/models/opt.js';
import { samTokens } from '../../src/models/sam.js';
import { varyNano } from '../../src/models/vary.js';
import { randomTensors } from '../../src/node/init-vary.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { ctcGraph } from '../../src/train/tasks.js';
import { assertAllclose } from '../helpers/allclose.js';
import { wideOpt } from '../helpers/checkpoints.js';
import { runGraph, weightsFrom } from '../helpers/run-graph.js';

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
  for (const [row, [logits]] of first.entries()) check(scored[row][0], logits);

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

test('a tower drafts what CTC reads from its columns', async () => {
  const draft = { columnsPerToken: 2 };
  const tower = { ...varyNano.tower, depth: 1, widthStep: 64 };
  const vary = { ...varyNano, tower, draft };
  const [reading] = towerGraphs(vary);
  const weights = new Map(randomTensors([reading], 8));
  const rng = createRng(3);
  const pixels = floats(
    [2, 3, 32, 128],
    Array.from({ length: 2 * 3 * 32 * 128 }, () => 3 * rng.normal()),
  );
  const { draft: columns } = await runGraph(reading, weights, towerFeeds(vary, 0, pixels));
  const { logits } = await runGraph(ctcGraph(vary, pixels.shape), weights, { pixelValues: pixels });
  const width = columns.shape[1];
  assert.equal(width, (samTokens(tower) / 3) * 2);
  const rows = [0, 1].map((row) =>
    mergedIds((columns.data as BigInt64Array).subarray(row * width, (row + 1) * width), 1),
  );
  assert.deepEqual(rows, greedyIds(logits as Tensor<'float32'>, 1));
  assert.ok(rows.every((ids) => ids.length > 3));
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
