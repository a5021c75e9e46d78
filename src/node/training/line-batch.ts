/** Rendered lines as batches of the two tasks. */

import { InputError } from '../../core/errors.js';
import { ignoreIndex } from '../../core/labels.js';
import type { Tensor } from '../../core/tensor.js';
import type { RenderedLine } from '../../data/rendered/line.js';
import { type Gray, resizeGray } from '../../image/gray.js';
import { lineTensor } from '../../image/line-tensor.js';
import { fillerId } from '../../models/opt.js';
import { canvasWidth } from '../../models/sam.js';
import { imageTokensAt, type VaryConfig, withImageTokens } from '../../models/vary.js';
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

/** What a prompt for lines depends on. */
interface LineReader {
  readonly config: VaryConfig;
  readonly tokenizer: Tokenizer;
  readonly imageTokens: ImageTokens;
}

/** A line's text as ids, nothing added. */
export function textIds(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encode(text, { addSpecialTokens: false, literal: true });
}

/** Pixels of lines as a tower takes them, as wide as the widest needs: float32 [lines, 3, H, W]. */
export function linePixels(lines: readonly RenderedLine[], { tower }: VaryConfig): Tensor<'float32'> {
  const [height, whole] = tower.imageSize;
  const images = lines.map((line) => fitted(line, whole));
  return lineTensor(images, { width: canvasWidth(tower, Math.max(...images.map(({ width }) => width))), height });
}

/** Texts of lines, which are read in batches of at most 64 whose canvases are as wide, as each would be alone. */
export async function readByCanvas(
  lines: readonly RenderedLine[],
  { tower }: VaryConfig,
  read: (some: readonly RenderedLine[]) => Promise<readonly string[]>,
): Promise<string[]> {
  const groups = new Map<number, RenderedLine[]>();
  for (const each of lines) {
    const width = canvasWidth(tower, each.width);
    groups.set(width, [...(groups.get(width) ?? []), each]);
  }
  const texts = new Map<RenderedLine, string>();
  for (const group of groups.values()) {
    for (let at = 0; at < group.length; at += 64) {
      const some = group.slice(at, at + 64);
      const own = await read(some);
      for (const [i, each] of some.entries()) texts.set(each, own[i]);
    }
  }
  return lines.map((each) => texts.get(each) ?? '');
}

/** What a reader is asked about lines of one canvas. */
export function readingInput(
  lines: readonly RenderedLine[],
  { config, tokenizer, imageTokens }: LineReader,
): { readonly inputIds: readonly (readonly number[])[]; readonly pixelValues: Tensor<'float32'> } {
  const pixelValues = linePixels(lines, config);
  const prompt = withImageTokens(readPrompt(tokenizer, imageTokens), imageTokensAt(config, pixelValues.shape[3]));
  return { inputIds: lines.map(() => prompt), pixelValues };
}

/** For CTC: the text's token ids, and where they stand where the loss is to be that of one alignment. */
export function transcribedBatch(
  lines: readonly RenderedLine[],
  config: VaryConfig,
  { tokenizer, aligned = false }: { readonly tokenizer: Tokenizer; readonly aligned?: boolean },
): TranscribedBatch {
  const pixelValues = linePixels(lines, config);
  const [, , , width] = pixelValues.shape;
  return {
    pixelValues,
    targets: lines.map(({ text }) => textIds(tokenizer, text)),
    ...(aligned && { places: lines.map((line) => placesOf(line, tokenizer, width)) }),
  };
}

/** For each id of a line's text the place of its character, as a share of the canvas. */
function placesOf({ text, centres, width: own }: RenderedLine, tokenizer: Tokenizer, width: number): number[] {
  const narrowed = Math.max(own, width);
  return [...text].flatMap((character, i) => textIds(tokenizer, character).map(() => centres[i] / narrowed));
}

/** For reading: prompt, text, end; labels on text and end. Rows are padded to a multiple of `step`, so that few shapes occur. */
export function readingBatch(
  lines: readonly RenderedLine[],
  config: VaryConfig,
  {
    tokenizer,
    imageTokens,
    guided = false,
    step = 8,
  }: {
    readonly tokenizer: Tokenizer;
    readonly imageTokens: ImageTokens;
    /** With the place of each character. */
    readonly guided?: boolean;
    readonly step?: number;
  },
): ReadingBatch {
  const {
    inputIds: [prompt],
    pixelValues,
  } = readingInput(lines, { config, tokenizer, imageTokens });
  const [, , , width] = pixelValues.shape;
  const {
    eosIds: [eosId],
    maxPositions,
  } = config.decoder;
  if (eosId === undefined) throw new InputError('config.json: eos_token_id: training on lines needs one, got null');
  const samples = lines.map(({ text }) => {
    const answer = [...textIds(tokenizer, text), eosId];
    return { inputIds: [...prompt, ...answer], labels: [...prompt.map(() => ignoreIndex), ...answer] };
  });
  const longest = Math.max(...samples.map(({ inputIds }) => inputIds.length));
  const length = Math.min(Math.ceil(longest / step) * step, maxPositions);
  const batch = { pixelValues, ...collate(samples, { padId: fillerId(config.decoder), length }) };
  if (!guided) return batch;
  const nowhere = (places: number) => Array<null>(places).fill(null);
  const places = lines.map((line) => {
    const own = [...nowhere(prompt.length), ...placesOf(line, tokenizer, width)];
    return [...own, ...nowhere(length - own.length)];
  });
  return { ...batch, places };
}
