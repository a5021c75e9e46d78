/** Run under mpirun with two ranks: a run on conversations, each rank with its share of every batch, against one process with all. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { joinMpi } from '../../src/node/mpi.js';
import { loop } from '../../src/node/training/loop.js';
import { parseRun } from '../../src/node/training/run-file.js';
import { startRun } from '../../src/node/training/start-run.js';
import type { Peers } from '../../src/train/trainer.js';

const peers = joinMpi();
assert.ok(peers, 'start this with mpirun');
assert.equal(peers.size, 2);

const dir = mkdtempSync(join(tmpdir(), 'varyclip-mpi-'));
const turns = (answer: string) => [
  { from: 'human', value: 'Go on.' },
  { from: 'gpt', value: answer },
];
const items = ['one', 'two words', 'three short words', 'four', 'five and six', 'seven'].map(turns);
writeFileSync(join(dir, 'data.json'), JSON.stringify(items));

/** Losses of a run to its end, and where the parameters went. */
async function train(batchSize: number, group?: Peers): Promise<{ losses: number[]; ended: string }> {
  const run = parseRun(
    {
      task: 'conversations',
      start: resolve('examples/tiny-vary'),
      out: `${dir}/out-${batchSize}`,
      data: [{ file: 'data.json' }],
      epochs: 2,
      batchSize,
      workers: 0,
      warmupSteps: 0,
      learningRate: 1e-3,
    },
    { where: 'run.json', base: dir },
  );
  const work = await startRun(run, { resume: undefined, threads: 1, peers: group });
  assert.equal(work.steps, 6);
  const losses: number[] = [];
  const { ended } = await loop(work, {
    logEvery: 1,
    evaluateEvery: 100,
    saveEvery: 100,
    peers: group,
    // One rank is told to stop: both do, at the same step.
    ...(group?.rank === 1 && { signal: AbortSignal.abort() }),
    ...(!group && { signal: new AbortController().signal }),
    onStep: ({ loss }) => losses.push(loss),
  }).catch(async (error: unknown) => {
    await work.dispose();
    throw error;
  });
  for (let i = losses.length; i < 6; i++) losses.push((await work.step()).loss);
  await work.dispose();
  return { losses, ended };
}

const shared = await train(1, peers);
assert.equal(shared.ended, 'interrupted');
const alone = await train(2);
assert.equal(alone.ended, 'done');
alone.losses.forEach((loss, i) => {
  assert.ok(Math.abs(loss - shared.losses[i]) < 1e-4, `step ${i + 1}: ${shared.losses[i]}, of one process ${loss}`);
});
if (peers.rank === 0) console.log(`ok: 2 ranks, ${alone.losses.length} steps, last loss ${alone.losses[5].toFixed(6)}`);
rmSync(dir, { recursive: true, force: true });
peers.finish();
