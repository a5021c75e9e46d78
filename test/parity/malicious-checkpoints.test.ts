import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { WeightsError } from '../../src/core/errors.js';
import type { Tensor } from '../../src/core/tensor.js';
import { fileSource } from '../../src/node/files.js';
import { type Checkpoint, openSharded } from '../../src/weights/checkpoint.js';
import { openSafetensors } from '../../src/weights/safetensors.js';
import { openTorch } from '../../src/weights/torch.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';

interface Row {
  file: string;
  outcome: string;
  why: string;
  tensors?: Record<string, unknown>;
}
const rows = fixtureJson<Row[]>('malicious-checkpoints/expected.json');

function open(path: string): Promise<Checkpoint> {
  if (path.endsWith('.index.json')) {
    return openSharded(fileSource(path), (shard) => openSafetensors(fileSource(join(dirname(path), shard))));
  }
  return path.endsWith('.safetensors') ? openSafetensors(fileSource(path)) : openTorch(fileSource(path));
}

async function readAll(path: string): Promise<Map<string, Tensor>> {
  const checkpoint = await open(path);
  const tensors = new Map<string, Tensor>();
  for (const name of checkpoint.names) tensors.set(name, await checkpoint.read(name));
  return tensors;
}

test('the table is whole', () => {
  assert.equal(rows.length, 100);
});

for (const { file, outcome, why, tensors } of rows) {
  test(`${file}: ${why}`, async () => {
    const path = fixturePath(`malicious-checkpoints/${file}`);
    const result = await readAll(path).catch((error: unknown) => error);
    if (result instanceof Map) {
      assert.ok(outcome.startsWith('load'), `loaded, expected: ${outcome}`);
      for (const [name, values] of Object.entries(tensors ?? {})) {
        const wanted = [values].flat(8).map(Number);
        assert.deepEqual(Array.from(result.get(name)?.data ?? [], Number), wanted, name);
      }
    } else {
      assert.ok(result instanceof WeightsError, `expected a WeightsError, got ${String(result)}`);
      assert.notEqual(outcome, 'load', `refused: ${result.message}`);
      assert.ok(result.message.length > 20);
    }
    for (const folder of [process.cwd(), dirname(path), '/tmp'])
      assert.ok(!existsSync(join(folder, 'PWNED')), 'it ran');
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });
}
