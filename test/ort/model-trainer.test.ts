import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  createTrainer,
  loadModel,
  type ModelTrainerOptions,
  NotFiniteError,
  openTrainingData,
} from '../../src/index.js';
import { scratchDir, writeOptCheckpoint } from '../helpers/checkpoints.js';
import { withTokenizer } from '../helpers/clip-checkpoints.js';
import { checkpoint, conversationFolder } from '../helpers/conversations.js';
import { tensorsAt } from '../helpers/training.js';

const base = scratchDir();
const { folder, file } = await conversationFolder(2);
const model = await loadModel(checkpoint, { threads: 2 });
const options: ModelTrainerOptions = {
  learningRate: 3e-3,
  threads: 2,
  adamW: { beta2: 0.98 },
  dropout: { hidden: 0.05, attention: 0 },
};
const data = await openTrainingData({ checkpoint, sets: [{ file }], batchSize: 2, workers: 0 });

test('run, save, resume and go on: the same bits as without a stop, and the evaluation is called', async () => {
  const whole = await createTrainer(model, options);
  const losses: number[] = [];
  const evaluated: number[] = [];
  await whole.run(data, {
    steps: 5,
    evaluateEvery: 2,
    onStep: ({ loss }) => losses.push(loss),
    evaluate: (step) => void evaluated.push(step),
  });
  assert.deepEqual([losses.length, evaluated], [5, [2, 4, 5]]);
  await whole.save(join(base, 'whole'));
  await assert.rejects(whole.save(join(base, 'whole')), /could not be saved: .*is a directory that is not empty/);
  await whole.dispose();

  const first = await createTrainer(model, options);
  await first.run(data, { epochs: 2 });
  assert.equal(first.stepsDone, 2);
  await first.save(join(base, 'part'));
  await first.dispose();
  const second = await createTrainer(model, options);
  await second.resume(join(base, 'part'));
  await second.run(data, { steps: 5 });
  await second.save(join(base, 'rest'));
  assert.equal(tensorsAt(join(base, 'rest')), tensorsAt(join(base, 'whole')));
  await second.dispose();
  const other = await createTrainer(model, { ...options, learningRate: 1 });
  await assert.rejects(other.resume(join(base, 'part')), /other settings \(learningRate was 0\.003, is 1\)/);
  await other.dispose();
});

test('a model of the parameters under way reads what was learnt; an evaluation can end the run', async () => {
  const trainer = await createTrainer(model, { learningRate: 3e-3, threads: 2 });
  let read: string | undefined;
  await trainer.run(data, {
    steps: 500,
    evaluateEvery: 25,
    evaluate: async () => {
      const now = trainer.model();
      const batch = await data.batch(0);
      const rows = await now.forward({
        inputIds: batch.inputIds,
        attentionMask: batch.attentionMask,
        labels: batch.labels,
        ...(batch.pixelValues && { pixelValues: batch.pixelValues }),
      });
      await now.dispose();
      return (rows.loss ?? 9) > 0.05;
    },
  });
  assert.ok(trainer.stepsDone < 500 && trainer.stepsDone % 25 === 0);
  await trainer.save(join(base, 'learnt'));
  await trainer.dispose();
  const learnt = await loadModel(join(base, 'learnt'), { threads: 2 });
  if (learnt.kind === 'vary')
    // Its pictures are flat: without asking, there is nothing to read on them.
    read = (await learnt.read(join(folder, '1.png'), { prompt: 'Read.', maxNewTokens: 8, readBlank: true })).text;
  assert.equal(read, 'page 1\n');
  const again = createTrainer(learnt, { learningRate: 1, promptStyle: { template: 'plain', turnSignal: '' } });
  await assert.rejects(again, /was trained with template conversation, the run has template plain/);
  await learnt.dispose();
});

test('several batches make one step; a loss that is no number names its batch', async () => {
  const opt = await loadModel(writeOptCheckpoint(join(base, 'opt')), { threads: 2 });
  const rows = (from: number) => {
    const inputIds = [[from, from + 1, from + 2, from + 3]];
    return { inputIds, labels: inputIds };
  };
  const [together, apart] = [
    await createTrainer(opt, { learningRate: 1e-3 }),
    await createTrainer(opt, { learningRate: 1e-3 }),
  ];
  const one = await together.step({
    inputIds: [rows(5), rows(9)].flatMap(({ inputIds }) => inputIds),
    labels: [rows(5), rows(9)].flatMap(({ labels }) => labels),
  });
  const two = await apart.step([rows(5), rows(9)]);
  assert.ok(Math.abs(one.loss - two.loss) < 1e-5 && Math.abs(one.gradNorm - two.gradNorm) < 1e-4);
  assert.deepEqual([one.count, two.count], [6, 6]);
  await together.dispose();
  await apart.dispose();
  await opt.dispose();
  const wild = await createTrainer(model, { learningRate: 1e30, threads: 2, maxGradNorm: null });
  await assert.rejects(wild.run(data, { steps: 9 }), (error) => {
    assert.ok(error instanceof NotFiniteError);
    assert.match(error.message, /the batch: .*data\.json:[23]/);
    return true;
  });
  await wild.dispose();
});

test('a model that is not trained by next tokens is refused', async () => {
  const clip = await loadModel(withTokenizer('clip/ckpt-modern'));
  await assert.rejects(createTrainer(clip, { learningRate: 1 }), /expected a vary or opt model, got one of kind clip/);
  await clip.dispose();
  await model.dispose();
  await data.dispose();
});
