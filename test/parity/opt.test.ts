import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Rng } from '../../src/core/rng.js';
import { createProcessors, type PenaltyOptions, pickToken, type Sampling } from '../../src/infer/processors.js';
import type { Precision } from '../../src/infer/quantize.js';
import { loadModel } from '../../src/node/load-model.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';
import { fixtureTensors, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('opt/expected.safetensors');
const rows = (name: string) => rowsOf(tensorOf(expected, name));
const numbers = (name: string) => tensorOf(expected, name).data as Float32Array;
const { config } = fixtureJson<{ config: Record<string, { eos_variant: number; new_tokens: number }> }>(
  'opt/case.json',
);

async function open(name: string, precision: Precision = 'float32') {
  const model = await loadModel(fixturePath(`opt/${name}`), { threads: 2, precision });
  after(() => model.dispose());
  assert.ok(model.kind === 'opt');
  return model;
}

for (const kind of ['pre', 'post', 'untied']) {
  const { eos_variant: eosVariant, new_tokens: maxNewTokens } = config[kind];
  const input = { inputIds: rows(`${kind}.left.input_ids`), attentionMask: rows(`${kind}.left.attention_mask`) };

  for (const side of ['left', 'right']) {
    test(`${kind}: logits of a ${side}-padded batch`, async () => {
      const model = await open(`ckpt-${kind}`);
      const attentionMask = rows(`${kind}.${side}.attention_mask`);
      const { logits } = await model.forward({ inputIds: rows(`${kind}.${side}.input_ids`), attentionMask });
      const want = tensorOf(expected, `${kind}.${side}.logits`);
      assert.deepEqual(logits.shape, want.shape);
      const vocabulary = logits.shape[2];
      attentionMask.flat().forEach((real, at) => {
        if (!real) return;
        const [start, end] = [at * vocabulary, (at + 1) * vocabulary];
        const what = `position ${at}`;
        assertAllclose(
          logits.data.subarray(start, end),
          (want.data as Float32Array).subarray(start, end),
          { atol: 5e-5, rtol: 1e-4 },
          what,
        );
      });
    });
  }

  test(`${kind}: loss and hidden states`, async () => {
    const model = await open(`ckpt-${kind}`);
    const inputIds = rows(`${kind}.right.input_ids`);
    const attentionMask = rows(`${kind}.right.attention_mask`);
    const { loss } = await model.forward({ inputIds, attentionMask, labels: rows(`${kind}.labels`) });
    assertAllclose([loss ?? Number.NaN], numbers(`${kind}.loss`), { atol: 1e-5, rtol: 1e-5 }, 'loss');
    const taps = [...expected.keys()].flatMap((name) =>
      name.startsWith(`${kind}.hidden_states.`) ? [name.slice(kind.length + 1)] : [],
    );
    const row = inputIds[0].filter((_, t) => attentionMask[0][t]);
    const got = await model.forward({ inputIds: [row], taps });
    for (const tap of taps) {
      assertAllclose(got.taps[tap].data as Float32Array, numbers(`${kind}.${tap}`), { atol: 5e-5, rtol: 1e-4 }, tap);
    }
    assert.ok(taps.length >= 3);
  });

  test(`${kind}: greedy, end token, penalties`, async () => {
    const model = await open(`ckpt-${kind}`);
    assert.deepEqual(await model.generate(input, { maxNewTokens, eosId: null }), rows(`${kind}.greedy.ids`));
    assert.deepEqual(await model.generate(input, { maxNewTokens, eosId: eosVariant }), rows(`${kind}.eos.ids`));
    const penalties = { repetitionPenalty: 1.2, noRepeatNgramSize: 3, eosId: null };
    assert.deepEqual(await model.generate(input, { maxNewTokens, ...penalties }), rows(`${kind}.penalty.ids`));
  });

  test(`${kind}: greedy ids of int8 weights`, async () => {
    const model = await open(`ckpt-${kind}`, 'int8');
    assert.deepEqual(await model.generate(input, { maxNewTokens, eosId: null }), rows(`${kind}.greedy.ids`));
  });

  test(`${kind}: beam search`, async () => {
    const model = await open(`ckpt-${kind}`);
    const beams = { count: 3, returned: 3 };
    for (const [name, eosId] of [
      ['beam', 2],
      ['beam_eos', eosVariant],
    ] as const) {
      assert.deepEqual(await model.generate(input, { maxNewTokens, beams, eosId }), rows(`${kind}.${name}.ids`), name);
      const scores = (await model.generateRows(input, { maxNewTokens, beams, eosId })).map(
        ({ score }) => score ?? Number.NaN,
      );
      assertAllclose(scores, numbers(`${kind}.${name}.scores`), { atol: 1e-5, rtol: 1e-5 }, `${name} scores`);
    }
    const one = await model.generate(input, { maxNewTokens, beams: { count: 3 }, eosId: 2 });
    assert.deepEqual(one, rows(`${kind}.beam_best.ids`));
    if (expected.has(`${kind}.beam_lp.ids`)) {
      const short = { count: 3, lengthPenalty: 0.5, earlyStopping: true };
      const got = await model.generate(input, { maxNewTokens, beams: short, eosId: eosVariant });
      assert.deepEqual(got, rows(`${kind}.beam_lp.ids`));
    }
  });
}

interface Ends {
  readonly prompts: number[][];
  readonly ends: number[];
  readonly cases: readonly { readonly options: Readonly<Record<string, number | boolean>>; readonly ids: number[][] }[];
  readonly padded: Readonly<Record<'prompts' | 'mask' | 'ids', number[][]>> & { readonly repetition_penalty: number };
}

test('several ids that end a row, and the fewest new tokens', async () => {
  const { prompts, ends, cases } = fixtureJson<Ends>('opt/ends.json');
  const model = await open('ckpt-pre');
  for (const { options, ids } of cases) {
    const { num_beams, num_return_sequences, length_penalty, early_stopping, min_new_tokens } = options;
    const beams = {
      count: num_beams as number,
      returned: (num_return_sequences ?? 1) as number,
      lengthPenalty: (length_penalty ?? 1) as number,
      earlyStopping: (early_stopping ?? false) as boolean | 'never',
    };
    const got = await model.generate(
      { inputIds: prompts },
      {
        eosId: ends,
        maxNewTokens: 16,
        minNewTokens: (min_new_tokens ?? 0) as number,
        ...(num_beams !== undefined && { beams }),
      },
    );
    assert.deepEqual(got, ids, JSON.stringify(options));
  }
});

test('a repetition penalty leaves padding out', async () => {
  const { prompts, mask, ids, repetition_penalty: repetitionPenalty } = fixtureJson<Ends>('opt/ends.json').padded;
  const model = await open('ckpt-pre');
  const options = { maxNewTokens: 16, eosId: null, repetitionPenalty };
  assert.deepEqual(await model.generate({ inputIds: prompts, attentionMask: mask }, options), ids);
});

test('padding behind a prompt is no part of it', async () => {
  const model = await open('ckpt-pre');
  for (const [options, prompt, padded, mask] of [
    [{ repetitionPenalty: 1.5 }, [2, 17, 45], [2, 17, 45, 113, 113], [1, 1, 1, 0, 0]],
    [{ noRepeatNgramSize: 2 }, [2, 15, 109, 15], [2, 15, 109, 15, 1, 1], [1, 1, 1, 1, 0, 0]],
  ] as const) {
    const run = async (ids: readonly number[], attentionMask: readonly number[]) => {
      const got = await model.generate(
        { inputIds: [ids], attentionMask: [attentionMask] },
        { ...options, maxNewTokens: 8 },
      );
      return got[0].slice(ids.length);
    };
    const alone = await run(
      prompt,
      prompt.map(() => 1),
    );
    assert.deepEqual(await run(padded, mask), alone, JSON.stringify(options));
  }
});

test('one beam is greedy search, with penalties too', async () => {
  const model = await open('ckpt-pre');
  for (const repetitionPenalty of [1, 1.3, 2]) {
    const options = { maxNewTokens: 12, repetitionPenalty, noRepeatNgramSize: 3 };
    const greedy = await model.generate({ inputIds: [[2, 17, 45]] }, options);
    const beam = await model.generate({ inputIds: [[2, 17, 45]] }, { ...options, beams: { count: 1 } });
    assert.deepEqual(beam, greedy, `${repetitionPenalty}`);
  }
});

test('what a forward pass or a generation cannot take is refused by name', async () => {
  const model = await open('ckpt-pre');
  const refused = (options: object, message: RegExp, input: object = {}) =>
    assert.rejects(model.generate({ inputIds: [[5, 6]], ...input }, { maxNewTokens: 1, ...options }), message);
  await refused({}, /inputIds: expected ids from 0 to 259, got 260/, { inputIds: [[5, 260]] });
  await refused({}, /inputIds: expected at least one row/, { inputIds: [] });
  await refused({}, /attentionMask: expected 1 rows of 2/, { attentionMask: [[1]] });
  await refused({ eosId: [0.5] }, /eosId: expected an id, a list of ids or null, got \[0.5\]/);
  await refused({ beams: { count: 2 }, sampling: { temperature: 1 } }, /beams: expected no sampling/);
  for (const label of [260, -1]) {
    const labels = [[-100, label]];
    await assert.rejects(model.forward({ inputIds: [[5, 6]], labels }), /labels: expected ids from 0 to 259, got/);
  }
});

const processors: Readonly<Record<string, PenaltyOptions & Sampling>> = {
  'temperature_0.7': { temperature: 0.7 },
  top_k_10: { topK: 10 },
  'top_p_0.8': { topP: 0.8 },
  'top_p_0.05': { topP: 0.05 },
  'repetition_1.3': { repetitionPenalty: 1.3 },
  no_repeat_3: { noRepeatNgramSize: 3 },
  all: { repetitionPenalty: 1.2, noRepeatNgramSize: 2, temperature: 0.6, topK: 12, topP: 0.9 },
};

for (const [name, options] of Object.entries(processors)) {
  test(`${name}: every id is drawn as often as transformers draws it`, () => {
    const { shape, data } = tensorOf(expected, 'scores.logits');
    const width = shape[1];
    rows('scores.history').forEach((ids, r) => {
      const logits = (data as Float32Array).slice(r * width, (r + 1) * width);
      createProcessors(options, [])?.(logits, { ids, padding: 0, generated: 0 });
      const chances = numbers(`scores.${name}.probs`).subarray(r * width, (r + 1) * width);
      let before = 0;
      chances.forEach((chance, id) => {
        // Near both ends of the id's part of the line from 0 to 1.
        for (const share of chance > 1e-5 ? [0.05, 0.95] : []) {
          const at = { next: () => before + share * chance } as Rng;
          assert.equal(pickToken(logits.slice(), { temperature: 1, ...options }, at), id);
        }
        before += chance;
      });
    });
  });
}
