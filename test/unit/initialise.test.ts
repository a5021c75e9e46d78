import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import type { ParameterSpec } from '../../src/graph/builder.js';
import { initialise, layOut, viewSlot } from '../../src/train/arena.js';

const normal = { kind: 'normal', std: 0.02 } as const;
const specs: ParameterSpec[] = [
  { name: 'tower.a', shape: [5, 7], init: normal },
  { name: 'tower.gain', shape: [7], init: { kind: 'constant', value: 1 } },
  { name: 'tower.b', shape: [3], init: normal },
  { name: 'head.c', shape: [4, 4], init: normal },
  { name: 'head.bias', shape: [4], init: { kind: 'constant', value: 0.5 } },
  { name: 'tower.d', shape: [9], init: normal },
];

/** The values of all parameters by name, before which all were 7, and where the stream is then. */
function started(given: (name: string) => boolean) {
  const layout = layOut(specs, [], 0);
  const parameters = new Float32Array(layout.size).fill(7);
  const none = new Float32Array(0);
  const rng = createRng(3);
  const arenas = { layout, parameters, gradients: none, firstMoments: none, secondMoments: none };
  initialise(arenas, rng, given);
  const values = new Map([...layout.slots.values()].map((slot) => [slot.name, [...viewSlot(parameters, slot).data]]));
  return { values, state: rng.state() };
}

test('parameters that are given are left alone; the others have the values they have when all are drawn', () => {
  const all = started(() => false);
  const some = started((name) => name.startsWith('tower'));
  for (const { name, init } of specs) {
    const values = all.values.get(name) ?? [];
    if (init.kind === 'normal') assert.equal(new Set(values).size, values.length);
    if (name.startsWith('tower')) assert.ok(some.values.get(name)?.every((value) => value === 7));
    else assert.deepEqual(some.values.get(name), values);
  }
});

test('nothing is drawn where everything is given', () => {
  assert.deepEqual(started(() => true).state, createRng(3).state());
});

test('a stream that skips normals goes on as one that drew them', () => {
  const [drew, skipped] = [createRng(8), createRng(8)];
  for (let i = 0; i < 13; i++) drew.normal();
  skipped.skipNormals(13);
  assert.deepEqual(skipped.state(), drew.state());
});
