/** How the gradients of a step come into the arena. */
import type { Runtime } from '../runtime/runtime.js';
import type { Arenas } from './arena.js';
import type { Peers } from './peers.js';

export interface Ground {
  readonly runtime: Runtime;
  readonly arenas: Arenas;
  readonly peers: Peers | undefined;
  /** Graphs that stay compiled. */
  readonly maxCompiled: number;
}

/** Works out losses and gradients; the parameters stay. */
export interface Steps<Batch> {
  /**
   * The loss of `parts` together, and what it is the mean of, over all processes; gradients are in the arena. `step` counts those
   * done.
   */
  accumulate(parts: readonly Batch[], step: number): Promise<{ readonly loss: number; readonly count: number }>;
  /** What is to be put right after an update. */
  settle?(): void;
  dispose(): Promise<void>;
}

/** Zeros in the arena, but where the gradients of some parameters are about to be written. */
export function clearOthers({ layout, gradients }: Arenas, names: readonly string[]): void {
  const written = new Set(names);
  for (const [name, { offset, length }] of layout.slots) {
    if (offset < layout.trainableSize && !written.has(name)) gradients.fill(0, offset, offset + length);
  }
}

/** Adds the gradients of some parameters to those in the arena. */
export function addSlots({ layout, gradients }: Arenas, from: Float32Array, names: readonly string[]): void {
  for (const name of names) {
    const slot = layout.slots.get(name);
    if (!slot) continue;
    for (let i = slot.offset; i < slot.offset + slot.length; i++) gradients[i] += from[i];
  }
}
