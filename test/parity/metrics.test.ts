import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bleu, editDistance, readingMetrics, tokenOverlap, tokensOf } from '../../src/text/metrics.js';
import { porterStem } from '../../src/text/porter.js';
import { fixtureJson } from '../helpers/fixtures.js';

type Pair = { ref: string; hyp: string; ref_tokens: string[]; hyp_tokens: string[] } & Record<string, number | null>;
const pairs = fixtureJson<Pair[]>('metrics/pairs.json');

function assertNear(actual: number | null, expected: number | null, what: string): void {
  if (expected === null || actual === null) assert.equal(actual, expected, what);
  else assert.ok(Math.abs(actual - expected) <= 1e-9, `${what}: expected ${expected}, got ${actual}`);
}

test('every metric of every pair', () => {
  assert.equal(pairs.length, 30);
  pairs.forEach((pair, i) => {
    const metrics = readingMetrics(pair.ref, pair.hyp);
    const tokens = tokensOf(pair.ref, pair.hyp);
    assert.deepEqual(tokens, { reference: pair.ref_tokens, hypothesis: pair.hyp_tokens });
    const sets = tokenOverlap(tokens.reference, tokens.hypothesis, true);
    const actual: Record<string, number | null> = {
      edit_distance: metrics.editDistance,
      ned: metrics.normalisedEditDistance,
      cer: metrics.cer,
      wer: metrics.wer,
      bag_precision: metrics.precision,
      bag_recall: metrics.recall,
      bag_f1: metrics.f1,
      set_precision: sets.precision,
      set_recall: sets.recall,
      set_f: sets.f1,
      bleu: metrics.bleu,
      bleu_method1: bleu(tokens.reference, tokens.hypothesis, 0.1),
      meteor: metrics.meteor,
    };
    for (const name of Object.keys(actual)) {
      // Where a text is empty, the reference gives no BLEU or METEOR.
      if (!(name in pair)) assert.ok(pair.ref === '' || pair.hyp === '');
      else assertNear(actual[name], pair[name], `pair ${i} (${pair.ref} | ${pair.hyp}), ${name}`);
    }
  });
});

test('edit distance is of code points where texts are split into them', () => {
  assert.equal(editDistance([...'a😀b'], [...'ab']), 1);
  assert.equal(editDistance([], [...'abc']), 3);
});

test('stems', () => {
  const stems = { ponies: 'poni', caresses: 'caress', agreed: 'agre', hopping: 'hop', falling: 'fall', filing: 'file' };
  const more = {
    relational: 'relat',
    generalization: 'gener',
    happy: 'happi',
    sky: 'sky',
    dies: 'die',
    controll: 'control',
  };
  for (const [word, stem] of Object.entries({ ...stems, ...more })) assert.equal(porterStem(word), stem, word);
});
