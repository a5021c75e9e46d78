/** What a kind of run brings: its task, its batches and how it is evaluated. The rest all runs share. */
import type { JsonObject } from '../../core/json.js';
import type { NamedWeights } from '../../infer/weights.js';
import type { VaryConfig } from '../../models/vary.js';
import type { Runtime } from '../../runtime/runtime.js';
import type { ImageTokens } from '../../text/image-tokens.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import type { Arenas } from '../../train/arena.js';
import type { JointTask } from '../../train/joint-task.js';
import type { Task } from '../../train/task.js';
import type { TrainerOptions } from '../../train/trainer.js';
import type { Checkpoint } from '../../weights/checkpoint.js';

/** The Vary checkpoint that a run starts from. */
export interface Start {
  readonly dir: string;
  readonly json: JsonObject;
  readonly config: VaryConfig;
  readonly tokenizer: Tokenizer;
  readonly imageTokens: ImageTokens;
  readonly runtime: Runtime;
}

/** Figures of held-out data, and what the model reads there. */
export interface Evaluation {
  /** The first one decides about an early stop. */
  readonly figures: Readonly<Record<string, number>>;
  readonly better: 'lower' | 'higher';
  readonly samples: readonly { readonly name?: string; readonly truth: string; readonly read: string }[];
}

/** One batch and where it comes from. */
export interface Part<Batch> {
  /** Undefined where every sample of it was broken. */
  readonly batch: Batch | undefined;
  /** Names of its samples, for messages. */
  readonly names: readonly string[];
  /** Samples that were left out, and why. */
  readonly bad: readonly string[];
}

/** Batches in order, made ahead of need. */
export interface PartSource<Batch> {
  next(): Promise<Part<Batch>>;
  /** Milliseconds spent waiting in `next`. */
  readonly waited: number;
  dispose(): Promise<void>;
}

export interface Place {
  readonly rank: number;
  readonly size: number;
}

/** Where the starting values come from. */
export interface StartWeights {
  /** Config and tokenizer files are here. */
  readonly dir: string;
  open(): Promise<Checkpoint>;
  /** Its tensors by the model's names, without those that it has no need of. */
  name(checkpoint: Checkpoint): NamedWeights | Promise<NamedWeights>;
}

/** A kind of run. */
export interface Kind<Batch> {
  readonly task: Task<Batch> | JointTask<Batch>;
  readonly start: StartWeights;
  /** Steps of the run. */
  readonly steps: number;
  /** What the task's counts are of, as figures of speed name it. */
  readonly unit: 'tokens' | 'pictures';
  /** What the trainer is told beside what all runs have. */
  readonly trainerOptions: Pick<TrainerOptions, 'groups' | 'dropout' | 'activationCheckpointing'>;
  /** Whether a parameter belongs to the published checkpoint. */
  isPublished(name: string): boolean;
  /** What a run that goes on must have had, beside what all have. */
  readonly settings: JsonObject;
  /** What a saved config.json says otherwise than the start's. */
  readonly configChanges: JsonObject;
  /** What there is to train on, in words, for a dry run. */
  readonly summary: readonly string[];
  /** The batches from the `first` on that this process takes. */
  open(first: number): Promise<PartSource<Batch>>;
  /** What a line of metrics says of the parameters. */
  gauges?(arenas: Arenas): JsonObject;
  /** Undefined where the run has no held-out data. */
  evaluate?(arenas: Arenas): Promise<Evaluation>;
  dispose(): Promise<void>;
}
