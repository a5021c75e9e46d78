import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import type { CachedDecoder } from '../../src/infer/decoder.js';
import { generate } from '../../src/infer/generate.js';
import { loopAtEnd, repeatedTail } from '../../src/infer/loops.js';
import { createProcessors, pickToken } from '../../src/infer/processors.js';
import { optConfigFrom } from '../../src/models/opt.js';

/** A decoder whose next token is a function of the last: no model needed. */
function scripted(next: (token: number) => number, vocabulary = 10): CachedDecoder {
  const logitsFor = (token: number) =>
    Float32Array.from({ length: vocabulary }, (_, id) => (id === next(token) ? 5 : 0));
  return {
    maxPositions: 32,
    start: async (prompts, rows) => ({
      logits: rows.map((row) => logitsFor(prompts[row].ids.at(-1) ?? 0)),
      batch: {
        step: async (tokens) => tokens.map((token) => logitsFor(token ?? 0)),
        reorder: () => undefined,
        dispose: () => undefined,
      },
    }),
  };
}
const counting = scripted((token) => (token + 1) % 10);

test('rows end at the end token, the limit or the last position', async () => {
  const [row] = await generate(counting, [{ ids: [3] }], 7);
  assert.deepEqual(row.tokens, [4, 5, 6, 7]);
  assert.equal(row.finishReason, 'stop');
  const [short] = await generate(counting, [{ ids: [3] }], 7, { maxNewTokens: 2 });
  assert.deepEqual([short.tokens, short.finishReason], [[4, 5], 'length']);
  const [full] = await generate(counting, [{ ids: [3] }], 7, { eosId: null });
  assert.deepEqual([full.tokens.length, full.finishReason], [32, 'length']);
});

test('any of several ids ends a row, not before the fewest new tokens', async () => {
  const several = { eosId: [9, 6] };
  const [row] = await generate(counting, [{ ids: [3] }], 7, several);
  assert.deepEqual([row.tokens, row.finishReason], [[4, 5, 6], 'stop']);
  // Without its end the script goes on with the first of equal logits, 0, and comes by at 6 again.
  const [late] = await generate(counting, [{ ids: [4] }], [6, 7], { minNewTokens: 4 });
  assert.deepEqual([late.tokens, late.finishReason], [[5, 0, 1, 2, 3, 4, 5, 6], 'stop']);
});

test('rows of one batch end on their own', async () => {
  const rows = await generate(counting, [{ ids: [5] }, { ids: [0, 1] }], 7);
  assert.deepEqual(
    rows.map(({ tokens }) => tokens),
    [
      [6, 7],
      [2, 3, 4, 5, 6, 7],
    ],
  );
});

test('a callback can end a row', async () => {
  const [row] = await generate(counting, [{ ids: [0] }], 9, { onToken: (_, token) => token === 3 });
  assert.deepEqual([row.tokens, row.finishReason], [[1, 2, 3], 'stop']);
});

test('a signal ends rows as aborted, with what they have', async () => {
  const controller = new AbortController();
  const stuck: CachedDecoder = {
    maxPositions: 1000,
    start: async (prompts, rows, signal) => {
      const started = await counting.start(prompts, rows, signal);
      const { AbortedError } = await import('../../src/core/errors.js');
      return {
        ...started,
        batch: {
          ...started.batch,
          step: async (tokens, stepSignal) => {
            if (stepSignal?.aborted) throw new AbortedError('stopped');
            return started.batch.step(tokens);
          },
        },
      };
    },
  };
  const [row] = await generate(stuck, [{ ids: [0] }], 99, {
    signal: controller.signal,
    onToken: (_, token) => {
      if (token === 4) controller.abort();
      return false;
    },
  });
  assert.deepEqual([row.tokens, row.finishReason], [[1, 2, 3, 4], 'aborted']);
});

test('loops are noticed, and repeats in real text are not', async () => {
  const cycle = Array.from({ length: 80 }, (_, i) => i % 5);
  assert.deepEqual(loopAtEnd(cycle), { period: 5, start: 5 });
  assert.ok(!loopAtEnd(cycle.slice(0, 60)));
  assert.ok(!loopAtEnd([...cycle, 77]));
  assert.deepEqual([repeatedTail(cycle), repeatedTail([...cycle, 77]), repeatedTail([1, 2, 3, 1, 2])], [75, 0, 2]);
  assert.ok(!loopAtEnd(Array.from({ length: 200 }, (_, i) => i)));
  const longer = { ...scripted(() => 3), maxPositions: 500 };
  const [row] = await generate(longer, [{ ids: [1] }], 9, { stopLoops: true });
  assert.equal(row.finishReason, 'repetition');
});

test('sampling keeps to top-k and top-p, and to its seed', () => {
  const logits = Float32Array.from([5, 4, 1, 0, -2]);
  const draw = (options: object, seed = 1) => {
    const rng = createRng(seed);
    return Array.from({ length: 400 }, () => pickToken(logits, { temperature: 1, ...options }, rng));
  };
  assert.deepEqual([...new Set(draw({ topK: 2 }))].sort(), [0, 1]);
  assert.deepEqual([...new Set(draw({ topP: 0 }))], [0], 'a share of nothing is the best');
  assert.deepEqual([...new Set(draw({ topP: 0.5 }))], [0]);
  assert.deepEqual([...new Set(draw({ topP: 0.8 }))].sort(), [0, 1]);
  assert.deepEqual(draw({}, 5), draw({}, 5));
  assert.notDeepEqual(draw({}, 5), draw({}, 6));
  // softmax of the five logits gives the first about 0.71
  const share = draw({}).filter((id) => id === 0).length / 400;
  assert.ok(Math.abs(share - 0.71) < 0.08, String(share));
});

test('top-k and top-p of many logits are those of the sorted ones', () => {
  const rng = createRng(11);
  // Steps of a half: many are equal.
  const logits = Float32Array.from({ length: 500 }, () => Math.round(16 * rng.next()) / 2);
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
  const weight = (id: number) => Math.exp(logits[id] / 2);
  for (const [topK, topP] of [
    [0, 0.3],
    [7, 1],
    [40, 0.5],
    [499, 0.999],
  ]) {
    const kept = topK === 0 ? order : order.filter((id) => logits[id] >= logits[order[topK - 1]]);
    const total = kept.reduce((sum, id) => sum + weight(id), 0);
    let gathered = 0;
    const nucleus = kept.filter((id) => {
      const wanted = gathered < topP * total * (1 - 1e-12);
      gathered += weight(id);
      return wanted;
    });
    const sum = nucleus.reduce((all, id) => all + weight(id), 0);
    let before = 0;
    // Through the middle of every id's share of the line from 0 to 1.
    for (const id of nucleus.toSorted((a, b) => a - b)) {
      const middle = (before + weight(id) / 2) / sum;
      const fixed = { next: () => middle } as unknown as ReturnType<typeof createRng>;
      assert.equal(pickToken(logits, { temperature: 2, topK, topP }, fixed), id, `top-k ${topK}, top-p ${topP}`);
      before += weight(id);
    }
  }
});

test('penalties follow transformers', () => {
  const logits = Float32Array.from([2, -2, 1, 0]);
  createProcessors({ repetitionPenalty: 2 }, [])?.(logits, { ids: [2, 0, 1, 1], padding: 1, generated: 0 });
  assert.deepEqual([...logits], [1, -4, 1, 0]);
  const banned = Float32Array.from([0, 0, 0, 0]);
  createProcessors({ noRepeatNgramSize: 3 }, [])?.(banned, { ids: [1, 2, 3, 0, 1, 2], padding: 1, generated: 0 });
  assert.deepEqual([...banned], [0, 0, 0, Number.NEGATIVE_INFINITY]);
});

test('options out of range are refused', async () => {
  for (const options of [
    { maxNewTokens: 0 },
    { sampling: { temperature: -1 } },
    { sampling: { topP: -0.1 } },
    { sampling: { topP: 1.1 } },
    { sampling: { topK: 1.5 } },
    { repetitionPenalty: 0 },
    { minNewTokens: -1 },
    { beams: { count: 0 } },
    { beams: { count: 2, returned: 0 } },
    { beams: { count: 2, lengthPenalty: Number.NaN } },
  ]) {
    await assert.rejects(generate(counting, [{ ids: [1] }], 9, options), InputError, JSON.stringify(options));
  }
});

test("beams stop when none would win by ending now, with 'never' only when none can win at any length", async () => {
  // Each end at once has two fifths; the other way goes on surely, and length is worth a lot.
  const [go, end, other] = [1, 2, 3];
  const logitsAfter = (token: number) =>
    Float32Array.from(token === go ? [-99, 99, 0, 0] : [-99, 0, Math.LN2, Math.LN2]);
  const decoder: CachedDecoder = {
    maxPositions: 32,
    start: async (_, rows) => ({
      logits: rows.map(() => logitsAfter(0)),
      batch: {
        step: async (tokens) => tokens.map((token) => logitsAfter(token ?? 0)),
        reorder: () => undefined,
        dispose: () => undefined,
      },
    }),
  };
  const search = async (earlyStopping: boolean | 'never', count = 2) => {
    const beams = { count, lengthPenalty: 2, earlyStopping };
    const [{ tokens }] = await generate(decoder, [{ ids: [0] }], [end, other], { beams, maxNewTokens: 4 });
    return tokens;
  };
  assert.deepEqual(await search(false), [end]);
  assert.deepEqual(await search(true), [end]);
  assert.deepEqual(await search('never'), [go, go, go, go]);
  assert.deepEqual(await search('never', 1), [end]);
});

test('as many hypotheses come back as were asked for, also where nothing more may follow', async () => {
  const everything = { noRepeatNgramSize: 1, maxNewTokens: 8, beams: { count: 4, returned: 4, lengthPenalty: -1 } };
  const rows = await generate(counting, [{ ids: [0] }, { ids: [1, 2] }], null, everything);
  assert.deepEqual(
    rows.map(({ prompt }) => prompt),
    [0, 0, 0, 0, 1, 1, 1, 1],
  );
  for (const { score } of rows) assert.ok(Number.isFinite(score));
});

test('the last token needs no position', async () => {
  const room = (ids: number[]) => generate(counting, [{ ids }], null, { maxNewTokens: 100 });
  for (const length of [1, counting.maxPositions - 1, counting.maxPositions]) {
    const [{ tokens, finishReason }] = await room(Array<number>(length).fill(1));
    assert.deepEqual([tokens.length, finishReason], [counting.maxPositions - length + 1, 'length']);
  }
});

test('config.json names one id that ends a text, several, or none', () => {
  const ends = (value?: unknown) => optConfigFrom(value === undefined ? {} : { eos_token_id: value }, 'c').eosIds;
  assert.deepEqual([ends(), ends(7), ends([7, 9]), ends(null)], [[2], [7], [7, 9], []]);
  assert.deepEqual([ends(-1), optConfigFrom({ pad_token_id: null }, 'c').padId], [[], null]);
  assert.equal(optConfigFrom({ pad_token_id: -1 }, 'c').padId, null);
  assert.throws(() => ends([7, '9']), /c: eos_token_id: expected a whole number, 0 or more, got "9"/);
});
