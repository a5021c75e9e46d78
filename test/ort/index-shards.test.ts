import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadModel, type NodeClipModel, openIndex } from '../../src/index.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runCli, startCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { pictureFolder, writePicture } from '../helpers/pictures.js';

const checkpoint = withTokenizer('clip/ckpt-modern');
const model = (await loadModel(checkpoint, { threads: 1 })) as NodeClipModel;
after(() => model.dispose());
const cli = ['--model', checkpoint, '--threads', '1', '--workers', '1'];

const dir = temporaryFolder();
const root = join(dir, 'pictures');
const paths = await pictureFolder(root, 11);

/** What an index's files have: the log to the byte, vectors as numbers. */
function expectSameIndex(out: string, other: string): void {
  const read = (index: string, name: string) => readFileSync(join(index, name));
  assert.equal(read(out, 'pictures.0.jsonl').toString(), read(other, 'pictures.0.jsonl').toString());
  const vectors = (index: string) => {
    const bytes = new Uint8Array(read(index, 'vectors.0.f32'));
    return new Float32Array(bytes.buffer);
  };
  assertAllclose(vectors(out), vectors(other), { atol: 1e-6, rtol: 0 });
}

/** A model that counts pictures and ends with an error after so many. */
function counting(most = Number.POSITIVE_INFINITY) {
  let embedded = 0;
  const counted: NodeClipModel = {
    ...model,
    embedPixels: async (pixels, options) => {
      if (embedded + pixels.shape[0] > most) throw new Error('died');
      embedded += pixels.shape[0];
      return model.embedPixels(pixels, options);
    },
  };
  return { model: counted, embedded: () => embedded };
}

async function updateRank(out: string, rank: number, size: number, by: NodeClipModel = model) {
  const index = await openIndex(out, { model: by, root });
  try {
    return await index.update({ shard: { rank, size, from: 'test' }, workers: 1, batchSize: 2 });
  } finally {
    await index.dispose();
  }
}

test('three processes that srun starts at once make the index that one makes; what cannot be read is named', async () => {
  const broken = join(root, 'broken.png');
  writeFileSync(broken, 'no picture');
  const [alone, out] = [join(dir, 'alone'), join(dir, 'ranks')];
  assert.equal((await runCli(['index', root, '--out', alone, ...cli])).code, 3);
  const ranks = await Promise.all(
    [0, 1, 2].map((rank) => {
      const slurm = { SLURM_PROCID: String(rank), SLURM_STEP_NUM_TASKS: '3' };
      return startCli(['index', root, '--out', out, ...cli], slurm).done;
    }),
  );
  for (const [rank, { code, err }] of ranks.entries()) {
    assert.ok(code === 0 || code === 3, err);
    assert.match(err, new RegExp(`process ${rank} of 3 \\(Slurm\\)`));
  }
  assert.ok(ranks.some(({ out: told }) => told === '11 added, 0 changed, 0 removed, 0 unchanged, 1 failed\n'));
  assert.ok(ranks.some(({ err }) => /broken\.png/.test(err)));
  expectSameIndex(out, alone);
  rmSync(broken);
  const again = await runCli(['index', root, '--out', out, ...cli]);
  assert.equal(again.out, '0 added, 0 changed, 0 removed, 11 unchanged, 0 failed\n');
  assert.ok(!existsSync(join(out, 'parts')));
});

test('what a process that died had is kept, the rest of its share another number of processes takes up', async () => {
  const [alone, out] = [join(dir, 'one'), join(dir, 'died')];
  const whole = await openIndex(alone, { model, root });
  await whole.update({ workers: 1, batchSize: 2 });
  await assert.rejects(updateRank(out, 1, 2, counting(3).model), /died/);
  const first = await updateRank(out, 0, 2);
  assert.deepEqual([first.added, first.left], [6, 3]);
  // Nothing is in the index before all of it is there.
  const index = await openIndex(out, { model });
  assert.equal((await index.search('a')).length, 0);
  await index.dispose();
  const rest = counting();
  const left: (number | undefined)[] = [];
  for (const rank of [2, 0, 1]) left.push((await updateRank(out, rank, 3, rest.model)).left);
  assert.equal(rest.embedded(), 3);
  assert.equal(left.at(-1), undefined);
  expectSameIndex(out, alone);
  assert.ok(!existsSync(join(out, 'parts')));

  // New, changed and gone: as one process brings them in.
  await writePicture(join(root, 'a-new.png'), 100);
  await writePicture(join(root, paths[4]), 101, 30);
  rmSync(join(root, paths[2]));
  const expected = await whole.update({ workers: 1, batchSize: 2 });
  await whole.dispose();
  assert.equal((await updateRank(out, 0, 2)).left, 1);
  assert.deepEqual(await updateRank(out, 1, 2), expected);
  expectSameIndex(out, alone);
});

test('parts that all processes left are put into the index by the next run of one', async () => {
  const out = join(dir, 'left');
  assert.equal((await updateRank(out, 0, 2)).left, 5);
  const rest = counting();
  const index = await openIndex(out, { model: rest.model, root });
  const report = await index.update({ workers: 1 });
  assert.deepEqual({ ...report }, { added: 11, changed: 0, removed: 0, unchanged: 0, failed: [] });
  assert.equal(rest.embedded(), 5);
  await index.dispose();
  assert.ok(!existsSync(join(out, 'parts')));
});

test('a share is one process’s at a time; an index that another process changes is left to it', async () => {
  const out = join(dir, 'locked');
  let go = () => {};
  const asked = new Promise<void>((started) => {
    const waiting: NodeClipModel = {
      ...model,
      embedPixels: async (pixels, options) => {
        started();
        await new Promise<void>((resolve) => {
          go = resolve;
        });
        return model.embedPixels(pixels, options);
      },
    };
    void updateRank(out, 0, 12, waiting).then(({ added }) => done(added));
  });
  let done: (added: number) => void = () => {};
  const added = new Promise<number>((resolve) => {
    done = resolve;
  });
  await asked;
  await assert.rejects(updateRank(out, 0, 12), { name: 'LockedError', message: /parts\/0: process \d+ works on/ });
  go();
  assert.equal(await added, 1);
  const changing = await openIndex(out, { model });
  await changing.remove([]);
  assert.equal((await updateRank(out, 0, 2)).left, 5);
  assert.equal((await updateRank(out, 1, 2)).left, 0);
  await changing.dispose();
  assert.equal((await updateRank(out, 1, 2)).left, undefined);
});
