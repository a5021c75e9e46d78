import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { wildcardMatcher } from '../../src/core/wildcard.js';
import { matcherOf, parseConditions } from '../../src/search/conditions.js';

const info = { path: '', size: 1, modified: 1, width: 1, height: 1, sha256: '' };

test('a pattern matches what the regular expression that it stands for matches', () => {
  const few = fc.string({ unit: fc.constantFrom('a', 'b', '.', '😀'), maxLength: 12 });
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '?', '😀'), maxLength: 8 });
  fc.assert(
    fc.property(pattern, few, (wanted, text) => {
      const source = wanted.replaceAll('.', '\\.').replaceAll('*', '.*').replaceAll('?', '.');
      assert.equal(wildcardMatcher(wanted)(text), new RegExp(`^${source}$`, 'su').test(text));
    }),
    { numRuns: 2000 },
  );
});

test('conditions that would take a regular expression for ever have an answer', () => {
  const path = 'a'.repeat(4000);
  for (const [pattern, holds] of [
    [`${'*?'.repeat(100)}b`, false],
    [`${'*a'.repeat(100)}b`, false],
    [`${'*?'.repeat(100)}a`, true],
    [`*${'a'.repeat(198)}b`, false],
  ] as const) {
    assert.equal(matcherOf(parseConditions(`path~${pattern}`))({ ...info, path }), holds, pattern.slice(0, 10));
  }
  // Neither does a long condition take time by the square of its length.
  for (const piece of [' ', ' and', '"', "'", '" ', 'a ', ' and "']) {
    const text = `path~${piece.repeat(100_000)}`;
    try {
      matcherOf(parseConditions(text))({ ...info, path });
    } catch (error) {
      assert.equal((error as Error).name, 'InputError');
    }
  }
});
