import { InputError } from '../core/errors.js';

export const scheduleKinds = ['cosine', 'linear', 'constant', 'constant_with_warmup'] as const;
export type ScheduleKind = (typeof scheduleKinds)[number];

export interface Schedule {
  readonly kind: ScheduleKind;
  /** Steps over which the rate rises from 0. */
  readonly warmupSteps: number;
  /** The horizon, in steps. */
  readonly totalSteps: number;
}

/**
 * What the learning rate is multiplied by at `step` (from 0), as transformers' schedulers do it: the first step of a warm-up has
 * rate 0, and cosine rises again past its horizon.
 */
export function learningRateFactor({ kind, warmupSteps, totalSteps }: Schedule, step: number): number {
  if (kind === 'constant') return 1;
  if (step < warmupSteps) return step / Math.max(1, warmupSteps);
  if (kind === 'constant_with_warmup') return 1;
  const left = Math.max(1, totalSteps - warmupSteps);
  if (kind === 'linear') return Math.max(0, (totalSteps - step) / left);
  return Math.max(0, 0.5 * (1 + Math.cos((Math.PI * (step - warmupSteps)) / left)));
}

/** Throws InputError for a schedule that makes no sense. */
export function checkSchedule({ kind, warmupSteps, totalSteps }: Schedule, where: string): void {
  if (!scheduleKinds.includes(kind)) {
    throw new InputError(`${where}: kind: expected one of ${scheduleKinds.join(', ')}, got ${JSON.stringify(kind)}`);
  }
  if (!(Number.isInteger(totalSteps) && totalSteps > 0)) {
    throw new InputError(`${where}: totalSteps: expected a whole number above 0, got ${totalSteps}`);
  }
  if (!(Number.isInteger(warmupSteps) && warmupSteps >= 0)) {
    throw new InputError(`${where}: warmupSteps: expected a whole number, got ${warmupSteps}`);
  }
}
