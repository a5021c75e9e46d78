/** Run files: every field once, with its type, its default and what it means; the JSON schema comes from the same table. */
import { resolve } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import {
  choiceField,
  countField,
  described,
  type Field,
  flagField,
  indexField,
  listField,
  mapField,
  nullable,
  numberField,
  objectField,
  optional,
  pairField,
  pathField,
  textField,
  withDefault,
} from '../../core/fields.js';
import { asObject, type JsonObject } from '../../core/json.js';
import type { ImageMode } from '../../image/image-modes.js';
import type { PictureAugmentation } from '../../image/picture.js';
import type { Roles } from '../../text/messages.js';
import { type ScheduleKind, scheduleKinds } from '../../train/schedule.js';
import type { PairSet } from '../data/pair-data.js';
import type { DataSet } from '../data/training-data.js';
import type { LineStage } from '../rendered/line-batches.js';
import type { Examination } from './picture-evaluation.js';

/** Parameters that are trained otherwise than the rest. */
export interface RunGroup {
  /** A regular expression; the first group that a name matches has it. */
  readonly match: string;
  readonly learningRateFactor?: number;
  readonly weightDecay?: number;
  readonly frozen?: boolean;
}

/** What every run has. Paths are whole. */
export interface CommonRun {
  /** Checkpoint directory to start from. */
  readonly start: string;
  /** Checkpoints, metrics and the report go here. */
  readonly out: string;
  readonly seed: number;
  readonly batchSize: number;
  /** Batches per step. */
  readonly accumulate: number;
  readonly workers: number;
  readonly learningRate: number;
  readonly schedule: ScheduleKind;
  /** Default: 200, or all steps where there are fewer. */
  readonly warmupSteps?: number;
  readonly weightDecay: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly maxGradNorm: number | null;
  readonly groups: readonly RunGroup[];
  readonly dropout: number;
  readonly attentionDropout: number;
  readonly activationCheckpointing: boolean;
  readonly logEvery: number;
  readonly evaluateEvery: number;
  readonly saveEvery: number;
  readonly keep: number;
  readonly earlyStop?: EarlyStop;
}

/** Ends a run whose held-out figure no longer falls. */
export interface EarlyStop {
  /** Evaluations without a better figure. */
  readonly evaluations: number;
  /** What counts as better. */
  readonly minImprovement: number;
}

/** Training on rendered lines: the tower by CTC, or the whole reader. */
export interface LineRun extends CommonRun {
  readonly task: 'ctc' | 'read';
  readonly steps: number;
  readonly stages: readonly LineStage[];
  /** Of a ctc run: so many first steps learn the alignment that the renderer knows, the others the sum over all of them. */
  readonly alignedSteps: number;
  /** Held-out lines read at each evaluation. */
  readonly evaluationLines: number;
}

/** How conversations become prompts: as `encodeConversation` has it, or as the released checkpoints were trained and are asked. */
export type TrainingTemplate = 'conversation' | 'plain';

/** Training of the whole reader on conversation files. */
export interface ConversationRun extends CommonRun {
  readonly task: 'conversations';
  /** One of the two is given. */
  readonly steps?: number;
  readonly epochs?: number;
  readonly data: readonly DataSet[];
  readonly shuffle: boolean;
  readonly augment: boolean;
  readonly maxBad: number;
  readonly maxLength?: number;
  readonly template: TrainingTemplate;
  readonly turnSignal: string;
  readonly roles: Roles;
  readonly imageAspectRatio?: ImageMode;
  readonly evaluation?: HeldOut;
}

export interface HeldOut {
  readonly data: readonly DataSet[];
  /** The first of them are scored; the first few are read out. */
  readonly samples: number;
  readonly readings: number;
  readonly maxNewTokens: number;
}

/** Two towers on pairs of pictures and texts. */
export interface ContrastiveRun extends CommonRun {
  readonly task: 'contrastive';
  readonly steps: number;
  readonly data: readonly PairSet[];
  /** Pictures drawn of each row. */
  readonly views: number;
  /** Samples of shards among which the next is drawn. */
  readonly buffer: number;
  readonly augment: PictureAugmentation;
  readonly chunkSize?: number;
  readonly imageWeight: number;
  /** Files of pictures with labels, by name. */
  readonly evaluation: Readonly<Record<string, Examination>>;
}

export type Run = LineRun | ConversationRun | ContrastiveRun;

const group: Field<RunGroup> = objectField({
  match: described(
    'A regular expression over parameter names; the first group that matches has the parameter.',
    textField,
  ),
  learningRateFactor: optional(numberField(0)),
  weightDecay: optional(numberField(0)),
  frozen: optional(described('Never changed: no gradient, no moments.', flagField)),
});

const commonFields = {
  start: described('The checkpoint directory to start from; relative to this file.', pathField),
  out: described('Checkpoints, metrics.jsonl and report.html go here; relative to this file.', pathField),
  seed: described('Of data order, augmentation, dropout and new parameters.', withDefault(indexField, 1)),
  batchSize: described('Rows of a batch, on each process.', withDefault(countField, 16)),
  accumulate: described('Batches whose gradients make one step.', withDefault(countField, 1)),
  workers: described('Threads that make batches.', withDefault(countField, 1)),
  learningRate: withDefault(numberField(0), 1e-3),
  schedule: withDefault(choiceField(scheduleKinds), 'cosine'),
  warmupSteps: described(
    'Steps over which the rate rises; 200, or all steps where there are fewer.',
    optional(indexField),
  ),
  weightDecay: withDefault(numberField(0), 0.01),
  beta1: withDefault(numberField(0, 1, { closed: false }), 0.9),
  beta2: withDefault(numberField(0, 1, { closed: false }), 0.98),
  maxGradNorm: described(
    'Gradients of a larger norm are scaled to it; null: never.',
    withDefault(nullable(numberField(0)), 1),
  ),
  groups: described('Parameters with a rate or decay of their own, or frozen.', withDefault(listField(group), [])),
  dropout: described(
    "OPT's dropout, on what attention and the MLP add.",
    withDefault(numberField(0, 1, { closed: false }), 0),
  ),
  attentionDropout: described("OPT's attention_dropout.", withDefault(numberField(0, 1, { closed: false }), 0)),
  activationCheckpointing: described(
    'Keep only what enters each block and work out the rest again: less memory, about a third more time.',
    withDefault(flagField, false),
  ),
  logEvery: described('Steps between lines of metrics.jsonl.', withDefault(countField, 20)),
  evaluateEvery: described('Steps between evaluations.', withDefault(countField, 500)),
  saveEvery: described('Steps between checkpoints.', withDefault(countField, 500)),
  keep: described('Checkpoints that are kept.', withDefault(countField, 2)),
  earlyStop: described(
    'End when so many evaluations brought no better held-out figure.',
    optional(objectField({ evaluations: countField, minImprovement: withDefault(numberField(0), 0) })),
  ),
};

const stage: Field<LineStage> = objectField({
  fromBatch: indexField,
  minWords: optional(countField),
  maxWords: optional(countField),
  maxChars: optional(countField),
  maxAspect: optional(numberField(0)),
  clean: optional(flagField),
  cleanShare: optional(numberField(0, 1)),
});

const lineFields = {
  task: described(
    'ctc: the tower by CTC on rendered lines; read: the whole reader on them.',
    choiceField(['ctc', 'read']),
  ),
  ...commonFields,
  steps: countField,
  stages: described(
    'The curriculum of rendered lines.',
    withDefault(listField(stage, { least: 1 }), [{ fromBatch: 0 }]),
  ),
  alignedSteps: described(
    'Of task ctc: so many first steps learn where each character stands, the others by CTC alone.',
    withDefault(indexField, 0),
  ),
  evaluationLines: described('Held-out lines read at each evaluation.', withDefault(countField, 64)),
};

const dataSet: Field<DataSet> = objectField({
  file: described('A JSON array or JSON lines of conversations; relative to the run file.', pathField),
  images: described('Where its pictures are; beside the data file.', optional(pathField)),
  weight: described('How often each of its samples comes per epoch.', withDefault(numberField(0), 1)),
});
const dataSets = listField(dataSet, { least: 1 });

const conversationFields = {
  task: described('The whole reader by next tokens, on conversation files.', choiceField(['conversations'])),
  ...commonFields,
  batchSize: described('Samples of a batch, on each process.', withDefault(countField, 1)),
  workers: described('Threads that decode and augment pictures; 0: the one that trains.', withDefault(indexField, 2)),
  learningRate: withDefault(numberField(0), 5e-5),
  beta2: withDefault(numberField(0, 1, { closed: false }), 0.999),
  steps: described('Give steps or epochs.', optional(countField)),
  epochs: described('Times the data is gone through.', optional(numberField(0))),
  data: dataSets,
  shuffle: withDefault(flagField, true),
  augment: described("Change pictures as Vary's train_transform does.", withDefault(flagField, false)),
  maxBad: described('Different samples that may be broken: they are left out and named.', withDefault(indexField, 0)),
  maxLength: described("The most tokens of a sample; the model's positions.", optional(countField)),
  template: described(
    "conversation: answers follow the human turn's newline; plain: as Vary's caption_opt.py, nothing after </img>.",
    withDefault(choiceField(['conversation', 'plain']), 'conversation'),
  ),
  turnSignal: described("Put before every turn, as '### '.", withDefault(textField, '')),
  roles: described(
    'Further names of speakers, in lower case.',
    withDefault(mapField(choiceField(['human', 'gpt'])), {}),
  ),
  imageAspectRatio: described(
    'Also prepare pictures for a CLIP tower, for models that have one.',
    optional(choiceField(['square', 'keep', 'pad'])),
  ),
  evaluation: described(
    'Held-out conversations: their loss, and the first answers as the model reads them.',
    optional(
      objectField({
        data: dataSets,
        samples: withDefault(countField, 32),
        readings: withDefault(indexField, 4),
        maxNewTokens: withDefault(countField, 256),
      }),
    ),
  ),
};

const pairSet: Field<PairSet> = objectField({
  file: described(
    'JSON lines, CSV or TSV; or shards, .tar (WebDataset) or .parquet: train-{000..011}.tar. Relative to the run file.',
    pathField,
  ),
  images: described('Where its pictures are; beside the data file.', optional(pathField)),
  weight: described('How often each of its rows comes per epoch.', withDefault(numberField(0), 1)),
  separator: described('Between the columns of a table: a comma, in .tsv a tab.', optional(textField)),
  image: described('The column of the picture.', optional(textField)),
  text: described('The column of the text.', optional(textField)),
});

const range: Field<number> = numberField(0, 1);
const augmentation: Field<PictureAugmentation> = objectField({
  scale: described(
    'The smallest and the largest size of a picture, 1 fills the frame; [0.75, 1.1].',
    optional(pairField(numberField(0.01, 10))),
  ),
  shift: described('Most that the middle moves, as a part of the frame; 0.1.', optional(range)),
  rotate: described('Most degrees of turning; 12.', optional(numberField(0, 180))),
  flip: described('How often pictures of rows with "flip": true are mirrored; 0.5.', optional(range)),
  grayscale: described('How often colours are taken away; 0.05.', optional(range)),
  colour: described('Most change of brightness, contrast and saturation; 0.2.', optional(range)),
  ground: described('How often the ground of transparent pictures is not white; 0.6.', optional(range)),
  erase: described('How often a part of the frame is covered; 0.', optional(range)),
});

const contrastiveFields = {
  task: described(
    'Two towers, CLIP or SigLIP, on pictures and texts that belong together.',
    choiceField(['contrastive']),
  ),
  ...commonFields,
  batchSize: described('Rows of a batch, on each process: all are compared with all.', withDefault(countField, 128)),
  weightDecay: described('Of matrices; biases, gains and the temperature have none.', withDefault(numberField(0), 0.1)),
  beta2: withDefault(numberField(0, 1, { closed: false }), 0.98),
  steps: countField,
  data: listField(pairSet, { least: 1 }),
  views: described('Pictures drawn of each row.', withDefault(countField, 1)),
  buffer: described('Samples of shards among which the next is drawn.', withDefault(countField, 1000)),
  augment: described('How pictures are changed each time.', withDefault(augmentation, {})),
  chunkSize: described(
    'Most pictures or texts that a tower takes at once: less memory, more time.',
    optional(countField),
  ),
  imageWeight: described('Weight of the loss among pictures with one label.', withDefault(numberField(0), 0)),
  evaluation: described(
    'Files of pictures with labels: zero-shot errors, by name.',
    withDefault(
      mapField(
        objectField({
          file: pathField,
          images: optional(pathField),
          labelsFrom: described('A file whose labels compete too.', optional(pathField)),
          templates: described('With {} for what a label is called.', optional(listField(textField, { least: 1 }))),
          limit: described('Pictures looked at; all.', optional(countField)),
        }),
      ),
      {},
    ),
  ),
};

const lineFile = objectField(lineFields);
const contrastiveFile = objectField(contrastiveFields);
const conversationFile = objectField(conversationFields);

/** What a run file may hold, as JSON schema: checked in as runs/run.schema.json. */
export function runSchema(): JsonObject {
  // An editor's reference to this schema may stand in the file.
  const withReference = ({ schema }: Field<unknown>) => {
    const properties = asObject(schema['properties'], 'schema');
    return { ...schema, properties: { $schema: { type: 'string' }, ...properties } };
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'varyclip train: run file',
    oneOf: [lineFile, conversationFile, contrastiveFile].map(withReference),
  };
}

/** A run file's contents, checked. Paths are relative to `base`. Throws InputError for anything unknown or out of range. */
export function parseRun(json: JsonObject, { where, base }: { readonly where: string; readonly base: string }): Run {
  const { $schema: _schema, ...fields } = json;
  const task = fields['task'];
  if (task !== 'ctc' && task !== 'read' && task !== 'conversations' && task !== 'contrastive') {
    throw new InputError(
      `${where}: task: expected ctc, read, conversations or contrastive, got ${JSON.stringify(task)}`,
    );
  }
  const run: Run = { conversations: conversationFile, contrastive: contrastiveFile, ctc: lineFile, read: lineFile }[
    task
  ].read(fields, where);
  for (const { match } of run.groups) checkExpression(match, where);
  const paths = { start: resolve(base, run.start), out: resolve(base, run.out) };
  if (run.task === 'contrastive') return { ...run, ...paths, ...pairPaths(run, base) };
  if (run.task !== 'conversations') return { ...run, ...paths };
  if ((run.steps === undefined) === (run.epochs === undefined)) {
    throw new InputError(`${where}: expected steps or epochs, and not both`);
  }
  if (run.template === 'plain' && run.turnSignal !== '') {
    throw new InputError(`${where}: turnSignal goes with template "conversation" only; leave one of them out`);
  }
  const sets = (data: readonly DataSet[]) =>
    data.map(({ file, images, weight }) => ({
      file: resolve(base, file),
      ...(images !== undefined && { images: resolve(base, images) }),
      ...(weight !== undefined && { weight }),
    }));
  const { evaluation } = run;
  return {
    ...run,
    ...paths,
    data: sets(run.data),
    ...(evaluation && { evaluation: { ...evaluation, data: sets(evaluation.data) } }),
  };
}

function pairPaths({ data, evaluation }: ContrastiveRun, base: string): Pick<ContrastiveRun, 'data' | 'evaluation'> {
  const whole = <S extends { readonly file: string; readonly images?: string; readonly labelsFrom?: string }>(
    set: S,
  ): S => ({
    ...set,
    file: resolve(base, set.file),
    ...(set.images !== undefined && { images: resolve(base, set.images) }),
    ...(set.labelsFrom !== undefined && { labelsFrom: resolve(base, set.labelsFrom) }),
  });
  return {
    data: data.map(whole),
    evaluation: Object.fromEntries(Object.entries(evaluation).map(([name, set]) => [name, whole(set)])),
  };
}

function checkExpression(match: string, where: string): void {
  try {
    new RegExp(match);
  } catch (cause) {
    throw new InputError(`${where}: groups: match: ${JSON.stringify(match)}: ${messageOf(cause)}`, { cause });
  }
}
