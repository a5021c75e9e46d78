import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { type GroupOptions, viewSlot } from '../../src/train/arena.js';
import { type ReadingBatch, readingTask } from '../../src/train/tasks.js';
import { createTrainer, type Trainer } from '../../src/train/trainer.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { tensorOf } from '../helpers/tensors.js';
import { expected, family, fillParameters, trainingRows } from '../helpers/vary-tiny.js';

interface Config {
  readonly zero_gradient_parameters: readonly string[];
  readonly decay: readonly string[];
  readonly optimizer: { readonly lr: number; readonly weight_decay: number };
}
const { config } = fixtureJson<{ config: Config }>('vary-tiny/case.json');
const want = (name: string) => tensorOf(expected, name).data as Float32Array;
const batch = trainingRows(0, 3);
const runtime = createRuntime({ threads: 2 });
type Reading = Trainer<ReadingBatch>;

async function trainer(groups: readonly GroupOptions[] = []): Promise<Reading> {
  const { lr, weight_decay: weightDecay } = config.optimizer;
  const made = await createTrainer(runtime, readingTask(family), {
    learningRate: lr,
    weightDecay,
    groups,
    maxGradNorm: null,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 3 },
  });
  fillParameters(made.arenas);
  return made;
}

const valuesOf = ({ arenas }: Reading, name: string, from: 'parameters' | 'gradients') => {
  const slot = arenas.layout.slots.get(name);
  assert.ok(slot, name);
  return viewSlot(arenas[from], slot).data;
};
const named = (prefix: string) =>
  [...expected.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
/** The k third of every qkv.bias, and the other parameters whose gradient is rounding only. */
const isZeroGradient = (name: string) => config.zero_gradient_parameters.some((pattern) => pattern.startsWith(name));

test('loss and every gradient, whole and from micro-batches', async () => {
  const made = await trainer();
  assert.deepEqual(named('grad.').sort(), [...made.arenas.layout.slots.keys()].sort());
  const parts = [0, 1, 2].map((row) => trainingRows(row, row + 1));
  for (const given of [[batch], parts]) {
    const loss = await made.accumulate(given);
    assert.ok(Math.abs(loss - want('loss')[0]) < 1e-5 * (1 + Math.abs(want('loss')[0])), `loss ${loss}`);
    for (const name of named('grad.')) {
      if (isZeroGradient(name)) continue;
      const [expectedGradient, gradient] = [want(`grad.${name}`), valuesOf(made, name, 'gradients')];
      const largest = expectedGradient.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const worst = expectedGradient.reduce((most, x, i) => Math.max(most, Math.abs(x - gradient[i])), 0);
      assert.ok(worst <= 1e-4 * largest + 1e-6, `${name}: off by ${worst} of ${largest}`);
    }
  }
  await made.dispose();
});

test('parameters after one and three AdamW steps', async () => {
  const made = await trainer();
  const losses: number[] = [];
  for (let step = 1; step <= 3; step++) {
    losses.push((await made.step([batch])).loss);
    if (step !== 2) compareParameters(made, `adamw${step}.`);
  }
  losses.forEach((loss, i) => {
    assert.ok(Math.abs(loss - want('adamw_losses')[i]) < 1e-5 * (1 + Math.abs(loss)), `loss of step ${i + 1}: ${loss}`);
  });
  await made.dispose();
});

test("three steps with Vary's groups: no decay on biases and nn.LayerNorm weights", async () => {
  const decayed = new Set(config.decay);
  const undecayed = named('grad.').filter((name) => !decayed.has(name));
  const escaped = undecayed.map((name) => name.replaceAll('.', '\\.'));
  const made = await trainer([{ match: new RegExp(`^(${escaped.join('|')})$`), weightDecay: 0 }]);
  for (let step = 1; step <= 3; step++) await made.step([batch]);
  compareParameters(made, 'adamw3_grouped.');
  await made.dispose();
});

/** Where the gradient is above 1e-5: 2e-6; elsewhere Adam's direction is rounding. */
function compareParameters(made: Reading, prefix: string): void {
  const { lr } = config.optimizer;
  for (const name of named(prefix)) {
    const expectedValues = want(`${prefix}${name}`);
    const values = valuesOf(made, name, 'parameters');
    const gradient = want(`grad.${name}`);
    expectedValues.forEach((value, i) => {
      // More than 512 values: the fixture has the first 192 and the last 64.
      const long = prefix === 'adamw3.' && values.length > 512 && i >= 192;
      const at = long ? values.length - 64 + (i - 192) : i;
      const sure = Math.abs(gradient[at]) > 1e-5 && !isZeroGradient(name);
      const tolerance = sure ? 2e-6 : 4 * lr;
      assert.ok(Math.abs(value - values[at]) <= tolerance, `${prefix}${name}[${at}]: ${values[at]}, expected ${value}`);
    });
  }
}
