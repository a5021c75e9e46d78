import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collate } from '../../src/text/collate.js';
import { encodeConversation } from '../../src/text/conversation.js';
import { type ImageTokens, imageTokensOf } from '../../src/text/image-tokens.js';
import type { ConversationSample } from '../../src/text/messages.js';
import { readPrompt } from '../../src/text/prompt.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { fixtureTensors, rowsOf, tensorOf } from '../helpers/tensors.js';
import { optTokenizer, tokenizerFiles } from '../helpers/tokenizers.js';

interface DataSet {
  data: ConversationSample[];
  max_length: number;
  image_token_len: number;
  use_im_start_end: boolean;
  batch: number[];
}

interface Sample {
  set: string;
  index: number;
  n: number;
  n_label: number;
  replaced_by_sample?: number;
}

const sets = fixtureJson<Record<string, DataSet>>('vary-data/inputs.json');
const { samples } = fixtureJson<{ samples: Sample[] }>('vary-data/expected.json');
const tensors = await fixtureTensors('vary-data/expected.safetensors');
const numbers = (name: string) => Array.from(tensorOf(tensors, name).data as BigInt64Array, Number);

const layouts = [optTokenizer(), optTokenizer(['tokenizer.json'])];

function imageTokensFor({ image_token_len, use_im_start_end }: DataSet, tokenizer = layouts[0]): ImageTokens {
  return imageTokensOf(tokenizer, { image_token_len, use_im_start_end });
}

/** Swapping a broken sample for sample 0 is the data set's, not the encoder's. */
function encodeSample(set: DataSet, index: number, tokenizer = layouts[0]) {
  const replaced = samples.find((sample) => sets[sample.set] === set && sample.index === index)?.replaced_by_sample;
  return encodeConversation(tokenizer, imageTokensFor(set, tokenizer), set.data[replaced ?? index], {
    labelMask: 'reference',
    maxLength: set.max_length,
  });
}

for (const [name, set] of Object.entries(sets)) {
  test(`set ${name}: ids and labels of every sample are Vary's`, () => {
    const expected = samples.filter((sample) => sample.set === name);
    assert.equal(expected.length, set.data.length);
    for (const tokenizer of layouts) {
      for (const { index, n, n_label } of expected) {
        const { inputIds, labels } = encodeSample(set, index, tokenizer);
        assert.deepEqual(inputIds, numbers(`${name}.${index}.input_ids`), `${name}.${index}`);
        assert.deepEqual(labels, numbers(`${name}.${index}.labels`), `${name}.${index}`);
        assert.deepEqual([labels.length, labels.filter((id) => id !== -100).length], [n, n_label]);
      }
    }
  });

  test(`set ${name}: the collated batch is Vary's`, () => {
    const batch = set.batch.map((index) => encodeSample(set, index));
    const { inputIds, labels, attentionMask } = collate(batch, { padId: 1, mask: 'reference' });
    assert.deepEqual(inputIds, rowsOf(tensorOf(tensors, `${name}.batch.input_ids`)));
    assert.deepEqual(labels, rowsOf(tensorOf(tensors, `${name}.batch.labels`)));
    assert.deepEqual(attentionMask, rowsOf(tensorOf(tensors, `${name}.batch.attention_mask`)));
  });
}

test('the reference mode says where it cut', () => {
  assert.equal(encodeSample(sets['short'], 0).truncated, true);
  assert.equal(encodeSample(sets['short'], 1).truncated, false);
});

test("vary-tiny: the prompt of run_opt.py, from its checkpoint's files", async () => {
  const expected = await fixtureTensors('vary-tiny/expected.safetensors');
  const tokenizer = createTokenizer(tokenizerFiles('vary-tiny/checkpoint'));
  const imageTokens = imageTokensOf(tokenizer, fixtureJson('vary-tiny/checkpoint/config.json'));
  assert.deepEqual(imageTokens, { length: 9, useStartEnd: true, padId: 617, startId: 618, endId: 619 });
  assert.deepEqual([readPrompt(tokenizer, imageTokens, {})], rowsOf(tensorOf(expected, 'e2e.input_ids')));
});

test('vary-tiny: the text of the generated ids', async () => {
  const expected = await fixtureTensors('vary-tiny/expected.safetensors');
  const { config } = fixtureJson<{ config: { e2e_text: string } }>('vary-tiny/case.json');
  const ids = rowsOf(tensorOf(expected, 'e2e.ids'))[0].slice(12);
  const decoded = optTokenizer().decode(ids, { skipSpecialTokens: true, cleanUpSpaces: true, spaceAddedTokens: true });
  assert.equal(decoded, config.e2e_text);
});
