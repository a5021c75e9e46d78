import { WeightsError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Derivation, Graph, Parameter } from '../graph/builder.js';
import type { OptConfig } from '../models/opt.js';
import type { WeightLoader } from '../runtime/runtime.js';
import { type Checkpoint, readFloat32 } from '../weights/checkpoint.js';
import type { RequiredTensor } from '../weights/manifest.js';

/** A checkpoint whose tensors are found by our names. */
export interface NamedWeights {
  readonly checkpoint: Checkpoint;
  /** Our name -> the checkpoint's. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * A checkpoint's tensors by our names: `rename` gives ours for theirs, undefined for one that nothing needs. Throws WeightsError where two
 * become one.
 */
export function nameWeights(checkpoint: Checkpoint, rename: (name: string) => string | undefined): NamedWeights {
  const names = new Map<string, string>();
  for (const name of checkpoint.names) {
    const ours = rename(name);
    if (ours === undefined) continue;
    const other = names.get(ours);
    if (other !== undefined)
      throw new WeightsError(`${checkpoint.name}: ${other} and ${name} are the same tensor ${ours}`);
    names.set(ours, name);
  }
  return { checkpoint, names };
}

/** Our names of a matrix that may be stored once for two uses: the embeddings, and the head that is tied to them. */
const [embeddings, head] = ['model.decoder.embed_tokens.weight', 'lm_head.weight'];

/**
 * `rename` for a checkpoint with a tied head: one that is stored alone, as safetensors' `save_model` leaves it, is the embeddings; one that
 * is stored beside them is left out.
 */
function withTiedHead(
  rename: (name: string) => string,
  stored: readonly string[],
): (name: string) => string | undefined {
  const hasEmbeddings = stored.some((name) => rename(name) === embeddings);
  return (name) => {
    const ours = rename(name);
    if (ours !== head) return ours;
    return hasEmbeddings ? undefined : embeddings;
  };
}

/** `nameWeights` for a decoder, whose head may be tied. Throws WeightsError where it is stored, and is not the embeddings. */
export async function nameDecoderWeights(
  checkpoint: Checkpoint,
  rename: (name: string) => string,
  { tiedHead }: Pick<OptConfig, 'tiedHead'>,
): Promise<NamedWeights> {
  if (!tiedHead) return nameWeights(checkpoint, rename);
  const [stored, other] = [head, embeddings].map((ours) => checkpoint.names.find((name) => rename(name) === ours));
  if (stored !== undefined && other !== undefined) await expectSame(checkpoint, stored, other);
  return nameWeights(checkpoint, withTiedHead(rename, checkpoint.names));
}

async function expectSame(checkpoint: Checkpoint, stored: string, other: string): Promise<void> {
  const [shape, wanted] = [stored, other].map((name) => String(checkpoint.info(name).shape));
  if (shape === wanted) {
    const [a, b] = [await readFloat32(checkpoint, stored), await readFloat32(checkpoint, other)];
    if (areSame(a.data, b.data)) return;
  }
  throw new WeightsError(
    `${checkpoint.name}: ${stored} is not ${other}, but config.json ties them: set tie_word_embeddings to false there, or leave the head out of the weights`,
  );
}

/** A plain loop: there are tens of millions of values. */
function areSame(a: Float32Array, b: Float32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i] && !(Number.isNaN(a[i]) && Number.isNaN(b[i]))) return false;
  return true;
}

/** Every checkpoint tensor that graphs need: read as stored, or the sources it is derived from. */
export function requiredTensors(graphs: readonly Graph[], { names }: NamedWeights): Map<string, RequiredTensor> {
  const required = new Map<string, RequiredTensor>();
  for (const parameter of graphs.flatMap((graph) => graph.parameters)) {
    const { name, value, derived, sources } = parameter;
    if (derived && names.has(name)) required.set(name, { shape: value.shape.map(Number), dtype: value.dtype });
    else for (const source of sources) required.set(source.name, { shape: source.shape, dtype: 'float' });
  }
  return required;
}

/** Loads parameters from a checkpoint as float32, and derived ones from their sources or as they are stored. */
export function checkpointLoader(weights: NamedWeights): WeightLoader {
  const read = async (name: string) => readFloat32(weights.checkpoint, storedName(weights, name));
  // The outputs of one derivation come one after the other: what is worked out for the first serves the rest.
  let last: { readonly from: Derivation; readonly results: readonly Tensor[] } | undefined;
  const derive = async ({ from, index }: NonNullable<Parameter['derived']>): Promise<Tensor> => {
    if (last?.from !== from) {
      const sources: Tensor<'float32'>[] = [];
      for (const source of from.sources) sources.push(await read(source.name));
      last = { from, results: from.compute(sources) };
    }
    return last.results[index];
  };
  return async (parameter, into) => {
    const stored = parameter.derived && weights.names.get(parameter.name);
    const tensor = stored
      ? await weights.checkpoint.read(stored)
      : parameter.derived
        ? await derive(parameter.derived)
        : await read(parameter.sources[0].name);
    if (tensor.data.length !== into.length || tensor.data.constructor !== into.constructor) {
      const { dtype, shape } = parameter.value;
      throw new WeightsError(
        `${weights.checkpoint.name}: ${parameter.name}: expected ${dtype}[${shape}], got ${tensor.dtype}[${tensor.shape}]`,
      );
    }
    (into as Float32Array).set(tensor.data as Float32Array);
  };
}

/** One tensor by our name, in the dtype it is stored in. */
export async function readNamed(weights: NamedWeights, name: string): Promise<Tensor> {
  return weights.checkpoint.read(storedName(weights, name));
}

function storedName({ checkpoint, names }: NamedWeights, name: string): string {
  const stored = names.get(name);
  if (stored === undefined) throw new WeightsError(`${checkpoint.name}: no tensor is called ${name}`);
  return stored;
}
