import assert from 'node:assert/strict';
import fs, { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { floats } from '../../src/core/tensor.js';
import { optFamily } from '../../src/models/graphs.js';
import { opt125m } from '../../src/models/opt.js';
import type { WriteCalls } from '../../src/node/atomic.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { ownIdentity } from '../../src/node/process-identity.js';
import { newestRun, type RunState, removeLeftovers, resumeRun, saveRun } from '../../src/node/training/save.js';
import { readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { tensorsAt } from '../helpers/training.js';

const decoder = {
  ...opt125m,
  vocabSize: 16,
  width: 8,
  embedWidth: 8,
  layers: 1,
  heads: 1,
  mlpWidth: 16,
  maxPositions: 8,
};
const runtime = createRuntime({ threads: 1 });
const trainer = await createTrainer(runtime, readingTask(optFamily(decoder)), {
  learningRate: 1e-2,
  schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 9 },
});
const state: RunState = {
  untouched: new Map([['spare', floats([2], [1, 2])]]),
  isPublished: () => true,
  filesFrom: 'examples/tiny-vary',
  configChanges: { vary_template: 'conversation' },
  settings: { some: 'settings' },
};
const rows = [[3, 4, 5, 6]];
const step = () => trainer.step([{ inputIds: rows, labels: rows }]);

/** The real calls; number `failAt` of them fails as a full disk does. */
function fullDisk(failAt: number) {
  let calls = 0;
  const fail = <A extends readonly unknown[], R>(call: (...args: A) => R) =>
    ((...args: A) => {
      if (calls++ === failAt) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      return call(...args);
    }) as never;
  const faulty: WriteCalls = {
    openSync: fail(fs.openSync),
    writeSync: fail(fs.writeSync),
    fsync: fs.fsync,
    fsyncSync: fail(fs.fsyncSync),
    closeSync: (handle) => fs.closeSync(handle),
    renameSync: fail(fs.renameSync),
    unlinkSync: (path) => fs.unlinkSync(path),
  };
  return { faulty, calls: () => calls };
}

test('whichever call a full disk fails, the checkpoint before is whole and goes on, and the error says what to do', async () => {
  const dir = scratchDir();
  await step();
  const good = await saveRun(dir, trainer, state);
  const bits = tensorsAt(good);
  await step();
  const counted = fullDisk(-1);
  await saveRun(scratchDir(), trainer, state, { fs: counted.faulty });
  assert.ok(counted.calls() > 20, `${counted.calls()} calls`);
  for (let failAt = 0; failAt < counted.calls(); failAt++) {
    await assert.rejects(saveRun(dir, trainer, state, { fs: fullDisk(failAt).faulty }), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(
        error.message,
        /checkpoint-2: could not be saved: .*ENOSPC.*; free space or name another place and start/,
      );
      return true;
    });
    assert.deepEqual(newestRun(dir).damaged, [], `call ${failAt}`);
    const { path } = newestRun(dir);
    // The last calls come after the rename: the new one is whole by then.
    if (path !== good) assert.equal(path, join(dir, 'checkpoint-2'));
    assert.equal(tensorsAt(good), bits);
    assert.ok(
      readdirSync(dir).every((name) => !name.endsWith('.tmp')),
      readdirSync(dir).join(),
    );
    fs.rmSync(join(dir, 'checkpoint-2'), { recursive: true, force: true });
  }
  const other = await createTrainer(runtime, readingTask(optFamily(decoder)), {
    learningRate: 1e-2,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 9 },
  });
  await resumeRun(good, other, state);
  await other.step([{ inputIds: rows, labels: rows }]);
  assert.deepEqual(other.arenas.parameters, trainer.arenas.parameters);
  await other.dispose();
});

test('what a killed save left is removed, what a live process writes is not', () => {
  const dir = scratchDir();
  const { host, pid } = ownIdentity();
  const [gone, running] = [`checkpoint-3.${host}.999999999.0.tmp`, `checkpoint-4.${host}.${process.ppid}.0.tmp`];
  const elsewhere = `checkpoint-5.another-machine.${pid}.0.tmp`;
  for (const name of [gone, running, elsewhere, 'mine.tmp']) fs.mkdirSync(join(dir, name));
  removeLeftovers(dir);
  assert.deepEqual(readdirSync(dir).sort(), [elsewhere, running, 'mine.tmp'].sort());
  removeLeftovers(join(dir, 'nowhere'));
});
