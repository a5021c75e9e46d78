import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { Tensor } from '../../src/core/tensor.js';
import { modelGraphs } from '../../src/infer/quantize.js';
import { optFamily } from '../../src/models/graphs.js';
import { optConfigFrom } from '../../src/models/opt.js';
import { randomTensors } from '../../src/node/init-vary.js';
import { writeSafetensors } from '../../src/weights/safetensors.js';

/** A directory that is removed when the test file ends. */
export function scratchDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'varyclip-test-'));
  after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** An OPT of two layers whose matrices are just large enough to be quantized. */
export const wideOpt = {
  model_type: 'opt',
  hidden_size: 256,
  ffn_dim: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 300,
  max_position_embeddings: 64,
};

/** Writes an OPT checkpoint with random weights; `change` may edit its tensors. */
export function writeOptCheckpoint(
  dir: string,
  config: Readonly<Record<string, unknown>> = wideOpt,
  change: (tensors: Map<string, Tensor>) => void = () => {},
): string {
  const graphs = modelGraphs(optFamily(optConfigFrom(config, 'config.json')), 'float32');
  const tensors = new Map(randomTensors(graphs, 1));
  change(tensors);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
  writeFileSync(join(dir, 'model.safetensors'), writeSafetensors(tensors));
  return dir;
}
