/** Rendered lines as batches of the two tasks. */

import type { Tensor } from '../../core/tensor.js';
import type { RenderedLine } from '../../data/rendered/line.js';
import { type Gray, resizeGray } from '../../image/gray.js';
import { lineTensor } from '../../image/line-tensor.js';
import { ignoreIndex } from '../../models/forward-inputs.js';
import type { VaryConfig } from '../../models/vary.js';
import type { ImageTokens } from '../../text/image-tokens.js';
import { readPrompt } from '../../text/prompt.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import type { ReadingBatch, TranscribedBatch } from '../../train/tasks.js';

/** A line that rounding made a little too wide is narrowed. */
function fitted({ width, height, pixels }: RenderedLine, most: number): Gray {
  const gray = { width, height, data: pixels };
  return width <= most ? gray : resizeGray(gray, { width: most, height });
}

const encode = (tokenizer: Tokenizer, text: string) =>
  tokenizer.encode(text, { addSpecialTokens: false, literal: true });

/** Pixels of lines as a tower takes them: float32 [lines, 3, H, W]. */
export function linePixels(lines: readonly RenderedLine[], { tower }: VaryConfig): Tensor<'float32'> {
  const [height, width] = tower.imageSize;
  return lineTensor(
    lines.map((line) => fitted(line, width)),
    { width, height },
  );
}

/** For CTC: the text's token ids. */
export function transcribedBatch(
  lines: readonly RenderedLine[],
  config: VaryConfig,
  tokenizer: Tokenizer,
): TranscribedBatch {
  return { pixelValues: linePixels(lines, config), targets: lines.map(({ text }) => encode(tokenizer, text)) };
}

/** For reading: prompt, text, end; labels on text and end. Rows are padded to a multiple of `step`, so that few shapes occur. */
export function readingBatch(
  lines: readonly RenderedLine[],
  config: VaryConfig,
  {
    tokenizer,
    imageTokens,
    step = 8,
  }: { readonly tokenizer: Tokenizer; readonly imageTokens: ImageTokens; readonly step?: number },
): ReadingBatch {
  const prompt = readPrompt(tokenizer, imageTokens);
  const answers = lines.map(({ text }) => [...encode(tokenizer, text), config.decoder.eosId]);
  const rows = answers.map((answer) => [...prompt, ...answer]);
  const longest = Math.max(...rows.map((row) => row.length));
  const length = Math.min(Math.ceil(longest / step) * step, config.decoder.maxPositions);
  const padId = config.decoder.padId;
  const filled = rows.map((row) => [...row, ...Array<number>(length - row.length).fill(padId)]);
  return {
    pixelValues: linePixels(lines, config),
    inputIds: filled,
    attentionMask: rows.map((row) => filled[0].map((_, t) => (t < row.length ? 1 : 0))),
    labels: rows.map((row) => filled[0].map((_, t) => (t >= prompt.length && t < row.length ? row[t] : ignoreIndex))),
  };
}
