import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCompilations } from '../../src/train/compilations.js';

test('no more graphs are open than wanted; the one used longest ago is closed before another is made', async () => {
  const happened: string[] = [];
  const compiled = createCompilations<{ dispose(): Promise<void> }>(2);
  const use = (key: string) =>
    compiled.get(key, async () => {
      happened.push(`+${key}`);
      return { dispose: async () => void happened.push(`-${key}`) };
    });
  const a = await use('a');
  await use('b');
  assert.equal(await use('a'), a);
  await use('c');
  await use('a');
  await use('b');
  assert.deepEqual(happened, ['+a', '+b', '-b', '+c', '-c', '+b']);
  await compiled.dispose();
  assert.deepEqual(happened.slice(6).sort(), ['-a', '-b']);
});

test('one that could not be made is tried again', async () => {
  const compiled = createCompilations<{ dispose(): Promise<void> }>(1);
  const dispose = async () => undefined;
  await assert.rejects(
    compiled.get('a', () => Promise.reject(new Error('no memory'))),
    /no memory/,
  );
  const made = await compiled.get('a', async () => ({ dispose }));
  assert.equal(await compiled.get('a', () => assert.fail('is there already')), made);
});
