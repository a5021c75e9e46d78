import type { Init, Scope, Value } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { type ActivationName, activate, isNonNegative } from './activation.js';
import { linear } from './linear.js';

export interface MlpOptions {
  readonly hidden: number;
  readonly activation: ActivationName;
  /** Names of the two linear layers in the checkpoint. */
  readonly names: readonly [string, string];
  readonly bias?: boolean;
  readonly init?: Init;
}

/** Two linear layers with an activation between: [.., C] to [.., C]. */
export function mlp(s: Scope, x: Value, { hidden, activation, names, ...options }: MlpOptions): Value {
  const inner = activate(s, linear(s.at(names[0]), x, hidden, options), activation);
  return linear(s.at(names[1]), inner, fixedDimAt(x.shape, -1), {
    ...options,
    nonNegative: isNonNegative(activation),
  });
}
