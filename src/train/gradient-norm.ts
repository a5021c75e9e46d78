/**
 * The L2 norm of all gradients, in parts that are sums of squares in float32: a gradient above 1.8e19 makes it infinite, as one that is not
 * finite does.
 */
import { createGraphBuilder, type Graph } from '../graph/builder.js';
import { matMulTransposed, reshape } from '../graph/functions.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Arenas } from './arena.js';
import type { Peers } from './peers.js';

/** Elements whose squares are summed in float32; such sums are added in double precision. */
const partLength = 4096;

/** x [parts, 1, n] to each part's product with itself [parts]. */
function squaresGraph(): Graph {
  const builder = createGraphBuilder('squares');
  const x = builder.input('x', 'float32', ['parts', 1, partLength]);
  builder.output('sums', reshape(builder.root, matMulTransposed(builder.root, x, x), ['parts']));
  return builder.finish();
}

export interface GradientNorm {
  /** Of what is in the arena now. Processes on unlike processors round it otherwise, so all take that of the first. */
  measure(): Promise<number>;
  dispose(): Promise<void>;
}

export async function createGradientNorm(
  runtime: Runtime,
  { gradients }: Arenas,
  peers: Peers | undefined,
): Promise<GradientNorm> {
  const session = await runtime.compile(squaresGraph(), { weights: () => undefined });
  const parts = Math.floor(gradients.length / partLength);
  const whole = gradients.subarray(0, parts * partLength);
  const rest = gradients.subarray(parts * partLength);
  const bound = { x: { dtype: 'float32', shape: [parts, 1, partLength], data: whole } } as const;
  return {
    measure: async () => {
      let total = 0;
      if (parts > 0) for (const sum of (await session.run({}, { bound }))['sums'].data as Float32Array) total += sum;
      for (const value of rest) total += value * value;
      const shared = Float64Array.of(peers === undefined || peers.rank === 0 ? Math.sqrt(total) : 0);
      await peers?.sum(shared);
      return shared[0];
    },
    dispose: () => session.dispose(),
  };
}
