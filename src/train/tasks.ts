/** What can be trained: the whole reader by next tokens, and its tower alone by CTC. */

import { ignoreIndex } from '../core/labels.js';
import { floats, floatView, type Tensor } from '../core/tensor.js';
import { createGraphBuilder, type Graph, type ParameterSpec, plainLowering } from '../graph/builder.js';
import { type DraftConfig, draftBlank, draftLogits } from '../models/draft.js';
import { type ForwardInput, prepareForward } from '../models/forward-inputs.js';
import type { DecoderFamily } from '../models/graphs.js';
import { samTower } from '../models/sam.js';
import { imageTokensAt, towerPath, type VaryConfig } from '../models/vary.js';
import { parameterSpecs } from './arena.js';
import { alignedLoss, ctcLoss } from './ctc.js';
import type { Task } from './task.js';

/** Rows with labels, and their images. */
export type ReadingBatch = Pick<ForwardInput, 'inputIds' | 'attentionMask' | 'pixelValues'> &
  Required<Pick<ForwardInput, 'labels'>> & {
    /** Where on its image each label stands, as a share of the width; null: nowhere. Guides attention. */
    readonly places?: readonly (readonly (number | null)[])[];
  };

/** Next-token training of everything: the mean of −log p over all labels that are not −100. */
export function readingTask(family: DecoderFamily): Task<ReadingBatch> {
  const shape = ({ inputIds, pixelValues }: ReadingBatch) =>
    `${inputIds.length}×${inputIds[0]?.length ?? 0}, ${pixelValues?.shape[0] ?? 0} images ${pixelValues?.shape[3] ?? 0} wide`;
  return {
    parameters: parameterSpecs(smallestGraph(family)),
    count: ({ labels }) => labels.reduce((sum, row) => sum + row.slice(1).filter((id) => id !== ignoreIndex).length, 0),
    prepare: (batch, total) => {
      const guided = family.kind === 'vary' && batch.places !== undefined;
      const { graph, feeds } = prepareForward(family, batch, { fixed: true, total, guided });
      if (guided) Object.assign(feeds, guideFeeds(batch, family.vary, total));
      return { key: `${shape(batch)}${guided ? ', guided' : ''}`, graph, feeds };
    },
  };
}

/** Of guided attention beside the next tokens' loss. */
const guideWeight = 0.3;
/** A character this near a token's edge, in tokens, may be looked for in its neighbour too. */
const guideMargin = 0.35;

/** For each position that predicts a character, the image tokens that it stands in; of the one image of each row. */
function guideFeeds(
  { inputIds, pixelValues, places = [] }: ReadingBatch,
  vary: VaryConfig,
  total: number,
): Record<string, Tensor> {
  const { patch, count } = imageTokensAt(vary, pixelValues?.shape[3] ?? 0);
  const [B, T] = [inputIds.length, inputIds[0].length];
  const guide = new Float32Array(B * T * T);
  const weights = new Float32Array(B * T);
  inputIds.forEach((ids, b) => {
    const first = ids.indexOf(patch);
    for (let t = 0; t + 1 < T; t++) {
      const place = places[b][t + 1] ?? null;
      if (place === null) continue;
      const at = place * count;
      weights[b * T + t] = guideWeight / total;
      const [from, to] = [at - guideMargin, at + guideMargin].map((x) =>
        Math.max(0, Math.min(count - 1, Math.floor(x))),
      );
      for (let token = from; token <= to; token++) guide[(b * T + t) * T + first + token] = 1;
    }
  });
  return { guide: floatView([B, T, T], guide), guideWeights: floatView([B, T], weights) };
}

/** The graph of one row, for its parameters. */
function smallestGraph(family: DecoderFamily): Graph {
  if (family.kind === 'opt')
    return prepareForward(family, { inputIds: [[0, 0]], labels: [[0, 0]] }, { fixed: true }).graph();
  const { start, end, patch, count } = family.vary.imageTokens;
  const row = [start, ...Array<number>(count).fill(patch), end];
  const pixels = floats(
    [1, 3, ...family.vary.tower.imageSize],
    new Float32Array(3 * family.vary.tower.imageSize[0] * family.vary.tower.imageSize[1]),
  );
  return prepareForward(family, { inputIds: [row], labels: [row], pixelValues: pixels }, { fixed: true }).graph();
}

export interface TranscribedBatch {
  /** float32 [B, 3, H, W] */
  readonly pixelValues: Tensor<'float32'>;
  /** Token ids of each image's text. */
  readonly targets: readonly (readonly number[])[];
  /** Where each of them stands, as a share of the image's width: the loss is then that of this alignment alone. */
  readonly places?: readonly (readonly number[])[];
}

/** Of a tower that is not to draft later, its head is for training only. */
const trainingDraft: DraftConfig = { columnsPerToken: 2 };

/** A tower with the head that CTC trains it by. Input `pixelValues` of this shape, output `logits` [images, columns, vocabulary]. */
export function ctcGraph(config: VaryConfig, shape: readonly number[]): Graph {
  const builder = createGraphBuilder('ctc', plainLowering);
  const { root } = builder;
  const tokens = samTower(root.at(towerPath), builder.input('pixelValues', 'float32', shape), config.tower); // [B, T, C]
  builder.output('logits', draftLogits(root, tokens, { ...config, draft: config.draft ?? trainingDraft }));
  return builder.finish();
}

/** CTC training of a tower whose tokens run along a line of text: the mean of −log p over all target tokens. */
export function ctcTask(config: VaryConfig): Task<TranscribedBatch> {
  const specs: readonly ParameterSpec[] = parameterSpecs(ctcGraph(config, [1, 3, ...config.tower.imageSize]));
  return {
    parameters: specs,
    count: ({ targets }) => targets.reduce((sum, row) => sum + row.length, 0),
    prepare: ({ pixelValues, targets, places }, total) => ({
      key: pixelValues.shape.join('×'),
      graph: () => ctcGraph(config, pixelValues.shape),
      feeds: { pixelValues },
      hostLoss: {
        output: 'logits',
        evaluate: (logits) => {
          const given = { blank: draftBlank(config), weight: 1 / total };
          return places
            ? alignedLoss(logits as Tensor<'float32'>, targets, { ...given, places })
            : ctcLoss(logits as Tensor<'float32'>, targets, given);
        },
      },
    }),
  };
}
