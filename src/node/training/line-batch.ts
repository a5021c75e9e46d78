/** Rendered lines as batches of the two tasks. */

import { ignoreIndex } from '../../core/labels.js';
import type { Tensor } from '../../core/tensor.js';
import type { RenderedLine } from '../../data/rendered/line.js';
import { type Gray, resizeGray } from '../../image/gray.js';
import { lineTensor } from '../../image/line-tensor.js';
import type { VaryConfig } from '../../models/vary.js';
import { collate } from '../../text/collate.js';
import type { ImageTokens } from '../../text/image-tokens.js';
import { readPrompt } from '../../text/prompt.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import type { ReadingBatch, TranscribedBatch } from '../../train/tasks.js';

/** A line that rounding made a little too wide is narrowed. */
function fitted({ width, height, pixels }: RenderedLine, most: number): Gray {
  const gray = { width, height, data: pixels };
  return width <= most ? gray : resizeGray(gray, { width: most, height });
}

/** A line's text as ids, nothing added. */
export function textIds(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encode(text, { addSpecialTokens: false, literal: true });
}

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
  return { pixelValues: linePixels(lines, config), targets: lines.map(({ text }) => textIds(tokenizer, text)) };
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
  const { padId, eosId, maxPositions } = config.decoder;
  const samples = lines.map(({ text }) => {
    const answer = [...textIds(tokenizer, text), eosId];
    return { inputIds: [...prompt, ...answer], labels: [...prompt.map(() => ignoreIndex), ...answer] };
  });
  const longest = Math.max(...samples.map(({ inputIds }) => inputIds.length));
  const length = Math.min(Math.ceil(longest / step) * step, maxPositions);
  return { pixelValues: linePixels(lines, config), ...collate(samples, { padId, length }) };
}
