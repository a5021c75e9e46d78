/** Parameters, gradients and moments each in one flat piece of memory, with named views. */
import { InputError } from '../core/errors.js';
import type { Rng } from '../core/rng.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import type { Graph, Init, ParameterSpec } from '../graph/builder.js';
import type { Runtime, WeightLoader } from '../runtime/runtime.js';

export interface GroupOptions {
  /** Matches parameter names; the first group that matches has the parameter. */
  readonly match: RegExp;
  /** Multiplied with the trainer's learning rate. */
  readonly learningRateFactor?: number;
  /** Default: the trainer's. */
  readonly weightDecay?: number;
  /** Never changed, and has no gradient. */
  readonly frozen?: boolean;
}

export interface Slot {
  readonly name: string;
  readonly shape: readonly number[];
  /** In elements, from the arena's start. */
  readonly offset: number;
  readonly length: number;
  readonly init: Init;
}

/** Parameters that are updated alike, side by side in the arena. */
export interface Group {
  readonly learningRateFactor: number;
  readonly weightDecay: number;
  readonly offset: number;
  readonly length: number;
}

export interface Layout {
  readonly slots: ReadonlyMap<string, Slot>;
  readonly groups: readonly Group[];
  /** Elements of all parameters; the trainable ones come first. */
  readonly size: number;
  readonly trainableSize: number;
}

/** Slots start at whole cache lines. */
const alignment = 16;

/** Where every parameter lies. Parameters that no group matches form the last trainable group. */
export function layOut(specs: readonly ParameterSpec[], groups: readonly GroupOptions[], weightDecay: number): Layout {
  const rest: GroupOptions = { match: /(?:)/ };
  const all = [...groups, rest];
  const owner = (name: string) => all.findIndex(({ match }) => match.test(name));
  const slots = new Map<string, Slot>();
  const placed: Group[] = [];
  let at = 0;
  const place = (index: number): void => {
    const start = at;
    for (const { name, shape, init } of specs) {
      if (owner(name) !== index || slots.has(name)) continue;
      const length = sizeOf(shape);
      slots.set(name, { name, shape, offset: at, length, init });
      at += Math.ceil(length / alignment) * alignment;
    }
    const { learningRateFactor = 1, weightDecay: own = weightDecay, frozen = false } = all[index];
    if (at > start && !frozen) placed.push({ learningRateFactor, weightDecay: own, offset: start, length: at - start });
  };
  const indices = [...all.keys()];
  for (const index of indices.filter((i) => !all[i].frozen)) place(index);
  const trainableSize = at;
  for (const index of indices.filter((i) => all[i].frozen)) place(index);
  if (trainableSize === 0) throw new InputError('training: every parameter is frozen, there is nothing to train');
  return { slots, groups: placed, size: at, trainableSize };
}

/** The checkpoint parameters of a graph. Throws InputError for a graph whose weights are derived (quantized). */
export function parameterSpecs(graph: Graph): readonly ParameterSpec[] {
  return graph.parameters.map(({ name, sources, derived }) => {
    if (derived) throw new InputError(`training: ${name} is derived from other tensors; train at float32`);
    return sources[0];
  });
}

export interface Arenas {
  readonly layout: Layout;
  readonly parameters: Float32Array;
  /** These three have only the trainable part. */
  readonly gradients: Float32Array;
  readonly firstMoments: Float32Array;
  readonly secondMoments: Float32Array;
}

export function allocateArenas(runtime: Runtime, layout: Layout): Arenas {
  const trainable = () => runtime.allocate('float32', layout.trainableSize);
  return {
    layout,
    parameters: runtime.allocate('float32', layout.size),
    gradients: trainable(),
    firstMoments: trainable(),
    secondMoments: trainable(),
  };
}

/** A slot's part of an arena, in place. */
export function viewSlot(arena: Float32Array, { shape, offset, length }: Slot): Tensor<'float32'> {
  return { dtype: 'float32', shape, data: arena.subarray(offset, offset + length) };
}

/** Loads a graph's parameters from the arena: for reading with what is being trained. */
export function arenaLoader({ layout, parameters }: Arenas): WeightLoader {
  const read = (name: string): Tensor<'float32'> => {
    const slot = layout.slots.get(name);
    if (!slot) throw new InputError(`training: there is no parameter ${name}`);
    return viewSlot(parameters, slot);
  };
  return ({ sources, derived }, into) => {
    const own = sources.map(({ name }) => read(name));
    const tensor = derived ? derived.from.compute(own)[derived.index] : own[0];
    (into as Float32Array).set(tensor.data as Float32Array);
  };
}

/**
 * Starts parameters as their declarations say, but those that are `given`: their values come from elsewhere. The others have the
 * same values whichever are given.
 */
export function initialise({ layout, parameters }: Arenas, rng: Rng, given: (name: string) => boolean): void {
  let passedOver = 0;
  for (const slot of layout.slots.values()) {
    const { data } = viewSlot(parameters, slot);
    const { init, name } = slot;
    if (given(name)) {
      if (init.kind === 'normal') passedOver += data.length;
    } else if (init.kind === 'constant') {
      data.fill(init.value);
    } else {
      rng.skipNormals(passedOver);
      passedOver = 0;
      for (let i = 0; i < data.length; i++) data[i] = init.std * rng.normal();
    }
  }
}
