import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { readJsonItems } from '../../src/data/json-items.js';
import { createOrder, type Order, type OrderedSet, periodOf } from '../../src/data/order.js';

const places = (order: Order, count: number) =>
  Array.from({ length: count }, (_, i) => order.at(i)).map(({ set, index }) => `${set}:${index}`);

test('an epoch has every sample once, and the next another order', () => {
  const order = createOrder([{ length: 50 }], { seed: 3 });
  const [first, second] = [places(order, 50), places(order, 100).slice(50)];
  assert.equal(new Set(first).size, 50);
  assert.deepEqual([...first].sort(), [...second].sort());
  assert.notDeepEqual(first, second);
  assert.notDeepEqual(first, places(createOrder([{ length: 50 }], { seed: 4 }), 50));
});

test('the place at an index does not depend on what was asked before', () => {
  const sets = [{ length: 7 }, { length: 5, weight: 2 }];
  const forward = places(createOrder(sets, { seed: 1 }), 60);
  const order = createOrder(sets, { seed: 1 });
  for (const i of [59, 0, 33, 12, 58]) assert.equal(`${order.at(i).set}:${order.at(i).index}`, forward[i]);
});

test('N epochs over a list are one epoch over the list repeated N times', () => {
  const list = ['a', 'b', 'c', 'd', 'e'];
  const repeated = [...list, ...list, ...list];
  const setOf = (keys: readonly string[]): OrderedSet => ({ length: keys.length, period: periodOf(keys) });
  const draw = (keys: readonly string[]) => {
    const order = createOrder([setOf(keys)], { seed: 9 });
    return Array.from({ length: 15 }, (_, i) => keys[order.at(i).index]);
  };
  assert.deepEqual(draw(repeated), draw(list));
});

test('weights: how often each sample comes', () => {
  const order = createOrder(
    [
      { length: 4, weight: 3 },
      { length: 10, weight: 0.5 },
    ],
    { seed: 0 },
  );
  assert.equal(order.epochLength, 17);
  const two = places(order, 34);
  for (let i = 0; i < 4; i++) assert.equal(two.filter((place) => place === `0:${i}`).length, 6);
  for (let i = 0; i < 10; i++) assert.equal(two.filter((place) => place === `1:${i}`).length, 1);
});

test('unshuffled: sets and lists in order', () => {
  const order = createOrder([{ length: 2 }, { length: 1 }], { seed: 0, shuffle: false });
  assert.deepEqual(places(order, 6), ['0:0', '0:1', '1:0', '0:0', '0:1', '1:0']);
});

test('empty sets and bad weights are refused', () => {
  for (const sets of [[], [{ length: 0 }], [{ length: 1, weight: 0 }], [{ length: 1, weight: Number.NaN }]]) {
    assert.throws(() => createOrder(sets, { seed: 0 }), InputError);
  }
  assert.throws(() => createOrder([{ length: 1 }], { seed: 0 }).at(-1), InputError);
});

test('the period of a list', () => {
  assert.equal(periodOf([]), 0);
  assert.equal(periodOf(['a']), 1);
  assert.equal(periodOf(['a', 'b', 'a', 'b']), 2);
  assert.equal(periodOf(['a', 'b', 'a']), 3);
  assert.equal(periodOf(['a', 'a', 'a']), 1);
});

test('items of a JSON array have the lines they begin at; a broken one is one problem', () => {
  const text = '[\n  {"a": "x, ]\\""},\n\n  {"b": [1, 2]\n  , "c": {}},\n  {broken},\n  [3]\n]\n';
  const items = readJsonItems(text);
  assert.deepEqual(
    items.map(({ line }) => line),
    [2, 4, 6, 7],
  );
  assert.deepEqual(items[1], { line: 4, value: { b: [1, 2], c: {} } });
  assert.match((items[2] as { problem: string }).problem, /is not JSON/);
});

test('JSON lines, cut files and empty ones', () => {
  assert.deepEqual(readJsonItems('{"a":1}\n\n{"a":2}\n'), [
    { line: 1, value: { a: 1 } },
    { line: 3, value: { a: 2 } },
  ]);
  assert.deepEqual(readJsonItems('  \n'), []);
  assert.match((readJsonItems('[{"a":1}, {"b"').at(-1) as { problem: string }).problem, /no end/);
  assert.match((readJsonItems('[1] x').at(-1) as { problem: string }).problem, /after the array/);
  assert.equal(readJsonItems('[]').length, 0);
});
