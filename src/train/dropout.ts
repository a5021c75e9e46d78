/**
 * OPT's dropout as a graph pass (transformers/models/opt/modeling_opt.py: `dropout` on what attention and the MLP add to the
 * residual, `attention_dropout` on the attention's weights). Masks are inputs, drawn from our own seeded numbers: the runtime's
 * Dropout keeps a state that cannot be saved.
 */
import { InputError } from '../core/errors.js';
import type { Rng } from '../core/rng.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import { type Graph, type Node, rewriteGraph, type Value } from '../graph/builder.js';
import { scalar, scale } from '../graph/functions.js';

export interface DropoutRates {
  /** Share of the values dropped from what attention and the MLP add. */
  readonly hidden: number;
  /** Share of the attention's weights dropped. */
  readonly attention: number;
}

/** One mask of a graph: an input of dtype bool, true where a value is kept. */
export interface DropoutSite {
  readonly input: string;
  readonly shape: readonly number[];
  readonly rate: number;
}

const layer = /^model\.decoder\.layers\.\d+\./;
/** Chances are whole parts of 2^16, so that one random word decides two values. */
const steps = 1 << 16;

const thresholdOf = (rate: number) => Math.round(rate * steps);

/** Throws InputError unless rates are in [0, 1). */
export function checkRates({ hidden, attention }: DropoutRates): void {
  for (const [name, rate] of Object.entries({ dropout: hidden, attentionDropout: attention })) {
    if (!(rate >= 0 && rate < 1))
      throw new InputError(`training: ${name}: expected a number from 0 below 1, got ${rate}`);
  }
}

/** A forward graph with dropout in its decoder layers, and the masks it then takes. Extents must be known. */
export function addDropout(
  graph: Graph,
  rates: DropoutRates,
): { readonly graph: Graph; readonly sites: readonly DropoutSite[] } {
  if (rates.hidden === 0 && rates.attention === 0) return { graph, sites: [] };
  const lastOf = new Map(graph.nodes.map((node) => [node.scope, node]));
  const rateAfter = (node: Node): number => {
    const place = node.scope.replace(layer, '');
    if (place === node.scope) return 0;
    if (place === 'self_attn' && node.op === 'Softmax') return rates.attention;
    return (place === 'self_attn.out_proj' || place === 'fc2') && lastOf.get(node.scope) === node ? rates.hidden : 0;
  };
  const builder = rewriteGraph(graph);
  const dropped = new Map<number, Value>();
  const sites: DropoutSite[] = [];
  for (const node of graph.nodes) {
    builder.place({ ...node, inputs: node.inputs.map((value) => dropped.get(value.id) ?? value) });
    const rate = rateAfter(node);
    if (thresholdOf(rate) === 0) continue;
    const [value] = node.outputs;
    const site = { input: `dropout.${sites.length}`, shape: value.shape.map(Number), rate };
    sites.push(site);
    const s = node.scope.split('.').reduce((scope, name) => scope.at(name), builder.root);
    const kept = scale(s, value, steps / (steps - thresholdOf(rate)));
    dropped.set(value.id, s.op('Where', [builder.input(site.input, 'bool', site.shape), kept, scalar(s, 0)], {}));
  }
  return { graph: builder.finish(), sites };
}

/** A site's mask. */
export function drawMask({ shape, rate }: DropoutSite, rng: Rng): Tensor<'bool'> {
  const data = new Uint8Array(sizeOf(shape));
  const threshold = thresholdOf(rate);
  for (let i = 0; i < data.length; i += 2) {
    const word = rng.nextUint32();
    data[i] = word >>> 16 >= threshold ? 1 : 0;
    if (i + 1 < data.length) data[i + 1] = (word & 0xffff) >= threshold ? 1 : 0;
  }
  return { dtype: 'bool', shape, data };
}
