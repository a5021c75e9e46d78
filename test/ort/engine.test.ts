import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import type { PreparedImage } from '../../src/infer/prepare.js';
import type { ReadResult } from '../../src/infer/reading.js';
import { varyNano } from '../../src/models/vary.js';
import { writeRandomCheckpoint } from '../../src/node/init-vary.js';
import { type LoadOptions, loadModel, type NodeVaryModel } from '../../src/node/load-model.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { fixturePath } from '../helpers/fixtures.js';

const scratch = scratchDir();

async function open(dir: string, options: LoadOptions): Promise<NodeVaryModel> {
  const model = await loadModel(dir, { threads: 1, ...options });
  assert.equal(model.kind, 'vary');
  return model as NodeVaryModel;
}

const { imageSize } = { imageSize: 96 };
/** Pages of noise: every one another. */
const pages = Array.from({ length: 6 }, (_, seed): PreparedImage => {
  const rng = createRng(seed, 1);
  const data = Float32Array.from({ length: 3 * imageSize * imageSize }, () => 4 * rng.next() - 2);
  return { kind: 'page', pixels: { dtype: 'float32', shape: [3, imageSize, imageSize], data }, lineAspects: [4] };
});
const settings = (i: number) => ({
  maxNewTokens: 8 + 9 * i,
  eosId: null,
  stopLoops: false,
  sampling: { temperature: 0.8, seed: i },
});
const facts = ({ text, finishReason, usage }: ReadResult) => ({ text, finishReason, usage });

for (const precision of ['float32', 'int8'] as const) {
  test(`${precision}: pages read together, some of them stopped, are read as alone`, async () => {
    const model = await open(fixturePath('vary-tiny/checkpoint'), {
      precision,
      towerSegments: 3,
      engine: { slots: 3 },
    });
    const alone: ReadResult[] = [];
    for (const [i, page] of pages.entries()) alone.push(await model.readPrepared(page, settings(i)));
    assert.equal(new Set(alone.map(({ text }) => text)).size, pages.length, 'texts that differ');
    const controllers = [0, 1, 2].map(() => new AbortController());
    const stopped = controllers.map(({ signal }, i) =>
      model.readPrepared(pages[i], { ...settings(5), signal, onText: () => i === 1 && controllers[i].abort() }),
    );
    const together = pages.map((page, i) => model.readPrepared(page, settings(i)));
    controllers[2].abort();
    const results = await Promise.all(together);
    assert.deepEqual(results.map(facts), alone.map(facts));
    const reasons = (await Promise.all(stopped)).map(({ finishReason }) => finishReason);
    assert.deepEqual(reasons, ['length', 'aborted', 'aborted']);
    assert.deepEqual(model.load(), { slots: 3, usedSlots: 0, running: 0, waiting: 0 });
    await model.dispose();
  });
}

test('lines of several pages in one batch: texts and probabilities are to the bit those of the page alone', async () => {
  const dir = join(scratch, 'lines');
  const tower = { ...varyNano.tower, depth: 1 };
  await writeRandomCheckpoint(dir, { ...varyNano, tower, decoder: { ...varyNano.decoder, layers: 2 } }, 3);
  const exact = await linesAsAlone(await open(dir, { engine: { slots: 12 } }));
  const rounded = { engine: { slots: 12 }, precision: 'int8', towerPrecision: 'int8' } as const;
  assert.notDeepEqual(await linesAsAlone(await open(dir, rounded)), exact);
});

async function linesAsAlone(model: NodeVaryModel): Promise<unknown> {
  const lines = (seed: number, count: number): PreparedImage => {
    const rng = createRng(seed, 2);
    const box = { left: 0, top: 0, width: 100, height: 20 };
    const image = () => ({ width: 200, height: 32, data: Uint8Array.from({ length: 6400 }, () => 256 * rng.next()) });
    const pieces = Array.from({ length: count }, (_, line) => ({ line, spaceBefore: false, image: image() }));
    const line = { box, block: 0, paragraph: 0, segments: [{ box, spaceBefore: false }] };
    return {
      kind: 'lines',
      plan: { pieces, page: { page: { width: 200, height: 200 }, skew: 0, lines: pieces.map(() => line) } },
    };
  };
  const inputs = [lines(1, 7), lines(2, 1), lines(3, 18)];
  const options = { maxNewTokens: 20, stopLoops: false };
  const alone: ReadResult[] = [];
  for (const input of inputs) alone.push(await model.readPrepared(input, options));
  const together = await Promise.all(inputs.map((input) => model.readPrepared(input, options)));
  const whole = ({ text, lines, usage }: ReadResult) => ({ text, lines, usage });
  assert.deepEqual(together.map(whole), alone.map(whole));
  assert.ok(new Set(alone[2].lines?.map(({ confidence }) => confidence)).size > 10);
  await model.dispose();
  return alone.map(whole);
}
