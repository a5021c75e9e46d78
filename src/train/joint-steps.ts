/** Steps whose loss compares all rows of all processes: pieces forward, one loss, pieces backward. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { differentiate } from '../grad/backward.js';
import type { Runtime } from '../runtime/runtime.js';
import { type Arenas, viewSlot } from './arena.js';
import { bindParameters, compileForTraining, compileHalves, type Halves, trainedOf } from './bound-graph.js';
import { createCompilations } from './compilations.js';
import type { JointTask, Piece } from './joint-task.js';
import { addSlots, type Ground, type Steps } from './steps.js';

/** A graph whose output's gradient comes from outside; gradients go into the arena's slots. */
interface CompiledPiece extends Halves {
  /** Those that have gradients; none where all are frozen. */
  readonly parameters: readonly string[];
}

/** Pieces that one loss is worked out of. */
export function createJointSteps<Batch>(
  task: JointTask<Batch>,
  { runtime, arenas, peers, maxCompiled }: Ground,
): Steps<Batch> {
  const compiled = createCompilations<CompiledPiece>(maxCompiled);
  let scratch: Float32Array | undefined;
  /** Pieces that are not alone with their key run forward again: what backward needs was overwritten. */
  const compiledFor = (piece: Piece, into: Float32Array) =>
    compiled.get(piece.key, () => compilePiece(runtime, piece, arenas, into));
  return {
    accumulate: async (parts) => {
      if (parts.length === 0) throw new InputError('training: every process needs a batch for a step');
      const pieces = task.pieces(parts);
      scratch ??= runtime.allocate('float32', arenas.layout.trainableSize);
      // Pieces are only ever added.
      arenas.gradients.fill(0);
      const outputs = [];
      /** The piece that each graph ran last: what backward needs of it is still there. */
      const lastOf = new Map<CompiledPiece, number>();
      for (const [i, piece] of pieces.entries()) {
        const graph = await compiledFor(piece, scratch);
        const output = await graph.forward(piece.feeds);
        outputs.push({ ...output, data: output.data.slice() });
        lastOf.set(graph, i);
      }
      const { loss, gradients, ownGradients } = await task.join(outputs, { parts, arenas, peers });
      // Backwards, so that the last piece of each key still has what it kept.
      for (const [i, piece] of [...pieces.entries()].reverse()) {
        const graph = await compiledFor(piece, scratch);
        if (graph.parameters.length === 0) continue;
        if (lastOf.get(graph) !== i) await graph.forward(piece.feeds);
        await graph.backward(piece.feeds, gradients[i]);
        addSlots(arenas, scratch, graph.parameters);
      }
      addOwn(arenas, ownGradients, 1 / (peers?.size ?? 1));
      const count = parts.reduce((sum, part) => sum + task.count(part), 0);
      const totals = Float64Array.of(count, loss);
      await peers?.sum(arenas.gradients);
      await peers?.sum(totals);
      return { loss: totals[1], count: totals[0] };
    },
    settle: () => holdLimits(arenas, task.limits),
    dispose: async () => {
      await compiled.dispose();
      await task.dispose();
    },
  };
}

/** Gradients of parameters that the loss itself has: every process has worked out the whole, and gives its share. */
function addOwn({ layout, gradients }: Arenas, own: Readonly<Record<string, Tensor>>, share: number): void {
  for (const [name, { data }] of Object.entries(own)) {
    const slot = layout.slots.get(name);
    if (!slot || slot.offset >= layout.trainableSize) continue;
    for (let i = 0; i < slot.length; i++) gradients[slot.offset + i] += share * Number(data[i]);
  }
}

async function compilePiece(
  runtime: Runtime,
  piece: Piece,
  arenas: Arenas,
  gradients: Float32Array,
): Promise<CompiledPiece> {
  const graph = piece.graph();
  const { output } = piece;
  const trained = trainedOf(graph, arenas);
  const bindings = bindParameters(graph, { arenas, gradients, trained });
  if (trained.length > 0) {
    const differentiated = differentiate(graph, { parameters: trained, output, seed: 'seed' });
    const options = { forwardCount: graph.nodes.length, output, bindings, trained };
    return { parameters: trained, ...(await compileHalves(runtime, differentiated, options)) };
  }
  const session = await compileForTraining(runtime, graph);
  return {
    parameters: trained,
    forward: async (feeds) =>
      (await session.run(feeds, { bound: bindings, outputs: [output] }))[output] as Tensor<'float32'>,
    backward: async () => undefined,
    dispose: () => session.dispose(),
  };
}

/** Puts parameters that went past their limit back to it. */
function holdLimits({ layout, parameters }: Arenas, limits: Readonly<Record<string, number>>): void {
  for (const [name, most] of Object.entries(limits)) {
    const slot = layout.slots.get(name);
    if (!slot) continue;
    const { data } = viewSlot(parameters, slot);
    for (let i = 0; i < data.length; i++) data[i] = Math.min(data[i], most);
  }
}
