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
import { defaultMaxCompiled } from '../../train/compilations.js';
import { type ScheduleKind, scheduleKinds } from '../../train/schedule.js';
import { findBuiltin } from '../builtin-models.js';
import type { PairSet } from '../data/pair-data.js';
import type { DataSet } from '../data/training-data.js';
import { directoryExists } from '../files.js';
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
  readonly learningRate: number;
  readonly schedule: ScheduleKind;
  /** Default: 200, or all steps where there are fewer. */
  readonly warmupSteps?: number;
  readonly weightDecay: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly maxGradNorm: number | null;
  readonly groups: readonly RunGroup[];
  readonly logEvery: number;
  readonly evaluateEvery: number;
  readonly saveEvery: number;
  readonly keep: number;
  readonly maxCompiled: number;
  readonly earlyStop?: EarlyStop;
}

/** Ends a run whose held-out figure no longer falls. */
export interface EarlyStop {
  /** Evaluations without a better figure. */
  readonly evaluations: number;
  /** What counts as better. */
  readonly minImprovement: number;
}

/** What every run of a Vary has besides. */
export interface CommonVaryRun extends CommonRun {
  /** Threads that make batches. */
  readonly workers: number;
  readonly dropout: number;
  readonly attentionDropout: number;
  readonly activationCheckpointing: boolean;
}

/** Training on rendered lines: the tower by CTC, or the whole reader. */
export interface LineRun extends CommonVaryRun {
  readonly task: 'ctc' | 'read';
  readonly steps: number;
  readonly stages: readonly LineStage[];
  /** Of a ctc run: so many first steps learn the alignment that the renderer knows, the others the sum over all of them. */
  readonly alignedSteps: number;
  /** Of a read run: in so many first steps one attention head is shown where each character stands. */
  readonly guidedSteps: number;
  /** Held-out lines read at each evaluation. */
  readonly evaluationLines: number;
}

/** How conversations become prompts: as `encodeConversation` has it, or as the released checkpoints were trained and are asked. */
export type TrainingTemplate = 'conversation' | 'plain';

/** Training of the whole reader on conversation files. */
export interface ConversationRun extends CommonVaryRun {
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

/** Training of two towers on pairs of pictures and texts. */
export interface ContrastiveRun extends CommonRun {
  readonly task: 'contrastive';
  readonly steps: number;
  /** Pictures drawn of each row. */
  readonly views: number;
  /** Samples of shards among which the next is drawn. */
  readonly buffer: number;
  readonly chunkSize?: number;
  readonly imageWeight: number;
  readonly data: readonly PairSet[];
  readonly augment: PictureAugmentation;
  readonly evaluation: Readonly<Record<string, Examination>>;
}

export type VaryRun = LineRun | ConversationRun;
export type Run = VaryRun | ContrastiveRun;

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
  start: described(
    'The checkpoint directory to start from, relative to this file; or the name of a built-in model.',
    pathField,
  ),
  out: described('Checkpoints, metrics.jsonl and report.html go here; relative to this file.', pathField),
  seed: described('Of data order, augmentation, dropout and new parameters.', withDefault(indexField, 1)),
  batchSize: described('Rows of a batch, on each process.', withDefault(countField, 16)),
  accumulate: described('Batches whose gradients make one step.', withDefault(countField, 1)),
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
  logEvery: described('Steps between lines of metrics.jsonl.', withDefault(countField, 20)),
  evaluateEvery: described('Steps between evaluations.', withDefault(countField, 500)),
  saveEvery: described('Steps between checkpoints.', withDefault(countField, 500)),
  keep: described('Checkpoints that are kept.', withDefault(countField, 2)),
  maxCompiled: described(
    'Graphs that stay compiled, one for each shape of batch: fewer take less memory, and more time.',
    withDefault(countField, defaultMaxCompiled),
  ),
  earlyStop: described(
    'End when so many evaluations brought no better held-out figure.',
    optional(objectField({ evaluations: countField, minImprovement: withDefault(numberField(0), 0) })),
  ),
};

const varyFields = {
  ...commonFields,
  workers: described('Threads that make batches.', withDefault(countField, 1)),
  dropout: described(
    "OPT's dropout, on what attention and the MLP add.",
    withDefault(numberField(0, 1, { closed: false }), 0),
  ),
  attentionDropout: described("OPT's attention_dropout.", withDefault(numberField(0, 1, { closed: false }), 0)),
  activationCheckpointing: described(
    'Keep only what enters each block and work out the rest again: less memory, about a third more time.',
    withDefault(flagField, false),
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
  unknown: described(
    'The share of words with glyphs from outside the alphabet, which are to be read as U+FFFD; 0.',
    optional(numberField(0, 1)),
  ),
});

const lineFields = {
  task: described(
    'ctc: the tower by CTC on rendered lines; read: the whole reader on them.',
    choiceField(['ctc', 'read']),
  ),
  ...varyFields,
  steps: countField,
  stages: described(
    'The curriculum of rendered lines.',
    withDefault(listField(stage, { least: 1 }), [{ fromBatch: 0 }]),
  ),
  alignedSteps: described(
    'Of task ctc: so many first steps learn where each character stands, the others by CTC alone.',
    withDefault(indexField, 0),
  ),
  guidedSteps: described(
    'Of task read: in so many first steps one attention head is shown where each character stands.',
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
  ...varyFields,
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

const pairColumns = {
  file: described('Rows of pairs: .jsonl, .csv, .tsv; or shards: .tar, .parquet. Relative to the run file.', pathField),
  images: described('Where its pictures are; beside the file.', optional(pathField)),
  image: described("The column of pictures; 'filepath' or 'image'.", optional(textField)),
  text: described("The column of texts; 'title', 'text' or 'caption'.", optional(textField)),
  separator: described("Between a table's columns; a tab in .tsv, a comma in .csv.", optional(textField)),
};

const share = numberField(0, 1);
const augmentation: Field<PictureAugmentation> = objectField({
  scale: described('Sizes relative to the frame: from, to; 0.75 to 1.1.', optional(pairField(numberField(0)))),
  shift: described('Most that the middle moves, as a part of the frame; 0.1.', optional(share)),
  rotate: described('Most degrees of turning; 12.', optional(numberField(0, 180))),
  flip: described('How often pictures that may be are mirrored; 0.5.', optional(share)),
  grayscale: described('How often colours are taken away; 0.05.', optional(share)),
  colour: described('Most change of brightness, contrast and saturation; 0.2.', optional(share)),
  ground: described('How often the ground behind transparent parts is another than white; 0.6.', optional(share)),
  erase: described('How often a part of the frame is covered; 0.', optional(share)),
});

const contrastiveFields = {
  task: described('Two towers, CLIP or SigLIP, on pairs of pictures and texts.', choiceField(['contrastive'])),
  ...commonFields,
  batchSize: described('Rows of a batch, on each process; all of a step are compared.', withDefault(countField, 128)),
  weightDecay: described('Of matrices; biases and gains have none.', withDefault(numberField(0), 0.1)),
  steps: countField,
  views: described('Pictures drawn of each row.', withDefault(countField, 1)),
  buffer: described('Samples of shards among which the next is drawn.', withDefault(countField, 1000)),
  chunkSize: described(
    'Most pictures, and most texts, that a tower takes at once; each further chunk runs forward twice. All.',
    optional(countField),
  ),
  imageWeight: described(
    'Weight of a loss that draws pictures with equal labels together.',
    withDefault(numberField(0), 0),
  ),
  data: listField<PairSet>(
    objectField({
      ...pairColumns,
      weight: described('How often each of its rows comes per epoch.', withDefault(numberField(0), 1)),
    }),
    { least: 1 },
  ),
  augment: described('How pictures are changed before each is shown.', withDefault(augmentation, {})),
  evaluation: described(
    'Files whose pictures are to be told apart by their labels, by the names that figures are to have.',
    withDefault(
      mapField<Examination>(
        objectField({
          ...pairColumns,
          labelsFrom: described("A file whose labels compete too, beside the pictures' own.", optional(pathField)),
          templates: described('With {} for what a label says.', optional(listField(textField, { least: 1 }))),
          limit: described('Pictures looked at; all.', optional(countField)),
        }),
      ),
      {},
    ),
  ),
};

const lineFile = objectField(lineFields);
const conversationFile = objectField(conversationFields);
const contrastiveFile = objectField(contrastiveFields);

/** The table that a run file of each task is read with. */
const files: Readonly<Record<Run['task'], Field<Run>>> = {
  ctc: lineFile,
  read: lineFile,
  conversations: conversationFile,
  contrastive: contrastiveFile,
};

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
    oneOf: [...new Set(Object.values(files))].map(withReference),
  };
}

/** A run file's contents, checked. Paths are relative to `base`. Throws InputError for anything unknown or out of range. */
export function parseRun(json: JsonObject, { where, base }: { readonly where: string; readonly base: string }): Run {
  const { $schema: _schema, ...fields } = json;
  const task = fields['task'];
  if (typeof task !== 'string' || !isTask(task)) {
    throw new InputError(`${where}: task: expected ${Object.keys(files).join(', ')}, got ${JSON.stringify(task)}`);
  }
  const run = files[task].read(fields, where);
  for (const { match } of run.groups) checkExpression(match, where);
  if (run.task === 'conversations') checkConversationRun(run, where);
  if (run.task === 'ctc' || run.task === 'read') checkStages(run, where);
  return withWholePaths(run, (path) => resolve(base, path));
}

const isTask = (name: string): name is Run['task'] => Object.hasOwn(files, name);

/** A stage that could never hold, or one that asks for lines that are not, would be passed over in silence. */
function checkStages({ stages }: LineRun, where: string): void {
  stages.forEach(({ fromBatch, minWords = 1, maxWords }, i) => {
    const before = i === 0 ? undefined : stages[i - 1].fromBatch;
    if (before === undefined ? fromBatch !== 0 : fromBatch <= before) {
      const wanted = before === undefined ? '0 in the first stage' : `more than the ${before} of the stage before`;
      throw new InputError(`${where}: stages[${i}]: fromBatch: expected ${wanted}, got ${fromBatch}`);
    }
    if (maxWords !== undefined && minWords > maxWords) {
      throw new InputError(`${where}: stages[${i}]: minWords ${minWords} is more than maxWords ${maxWords}`);
    }
  });
}

function checkConversationRun({ steps, epochs, template, turnSignal }: ConversationRun, where: string): void {
  if ((steps === undefined) === (epochs === undefined)) {
    throw new InputError(`${where}: expected steps or epochs, and not both`);
  }
  if (template === 'plain' && turnSignal !== '') {
    throw new InputError(`${where}: turnSignal goes with template "conversation" only; leave one of them out`);
  }
}

function withWholePaths(run: Run, whole: (path: string) => string): Run {
  const setOf = <S extends { readonly file: string; readonly images?: string }>(set: S): S => ({
    ...set,
    file: whole(set.file),
    ...(set.images !== undefined && { images: whole(set.images) }),
  });
  const start = whole(run.start);
  const builtin = directoryExists(start) ? undefined : findBuiltin(run.start);
  const paths = { start: builtin ?? start, out: whole(run.out) };
  if (run.task === 'contrastive') {
    const examined = Object.entries(run.evaluation).map(([name, each]): [string, Examination] => [
      name,
      { ...setOf(each), ...(each.labelsFrom !== undefined && { labelsFrom: whole(each.labelsFrom) }) },
    ]);
    return { ...run, ...paths, data: run.data.map(setOf), evaluation: Object.fromEntries(examined) };
  }
  if (run.task !== 'conversations') return { ...run, ...paths };
  const { evaluation } = run;
  return {
    ...run,
    ...paths,
    data: run.data.map(setOf),
    ...(evaluation && { evaluation: { ...evaluation, data: evaluation.data.map(setOf) } }),
  };
}

function checkExpression(match: string, where: string): void {
  try {
    new RegExp(match);
  } catch (cause) {
    throw new InputError(`${where}: groups: match: ${JSON.stringify(match)}: ${messageOf(cause)}`, { cause });
  }
}
