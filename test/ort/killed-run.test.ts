import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { test } from 'node:test';
import { startRun } from '../../src/node/training/start-run.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { conversationFolder } from '../helpers/conversations.js';
import { killedRun, losses, tensorsAt, trainThroughKills } from '../helpers/training.js';

test('killed at random moments, the newest checkpoint is whole and has the bits of a run that was never killed', async () => {
  const { folder } = await conversationFolder(3);
  const { last } = await trainThroughKills(folder, 10, 1);
  const step = Number(basename(last).replace('checkpoint-', ''));
  // As long a horizon; the same data in another place.
  const unbroken = await startRun(
    { ...killedRun(folder, 100000), out: scratchDir() },
    { resume: undefined, threads: 1 },
  );
  await losses(unbroken, step);
  assert.equal(tensorsAt(await unbroken.save()), tensorsAt(last));
  await unbroken.dispose();
});
