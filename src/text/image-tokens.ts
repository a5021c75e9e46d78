import { InputError } from '../core/errors.js';
import { fileError } from './json.js';
import type { Tokenizer } from './tokenizer.js';

/** Where a picture goes in a text (Vary's constants.py). */
export const imagePlaceholder = '<image>';
const padToken = '<imgpad>';
const startToken = '<img>';
const endToken = '</img>';

/** The fields of a checkpoint's config.json that describe its image block. */
export interface ImageTokenConfig {
  readonly im_patch_token?: number | undefined;
  readonly im_start_token?: number | undefined;
  readonly im_end_token?: number | undefined;
  readonly image_token_len?: number | undefined;
  readonly use_im_start_end?: boolean | undefined;
}

/** The image block of a checkpoint: `<img>` + `<imgpad>` × length + `</img>`, or the pads alone. */
export interface ImageTokens {
  /** Number of pads: one per image feature. */
  readonly length: number;
  readonly useStartEnd: boolean;
  readonly padId: number;
  /** Undefined where the block has no start and end. */
  readonly startId: number | undefined;
  readonly endId: number | undefined;
}

/** The image block that config.json describes, checked against the tokenizer. Throws InputError where they disagree. */
export function imageTokensOf(tokenizer: Tokenizer, config: ImageTokenConfig): ImageTokens {
  const { image_token_len: length = 256, use_im_start_end: useStartEnd = true } = config;
  if (!Number.isInteger(length) || length < 1) {
    throw fileError(
      'config.json',
      `image_token_len is ${length}, expected a positive integer`,
      'correct it (Vary-tiny: 256)',
    );
  }
  const idOf = (token: string, field: keyof ImageTokenConfig) => checkedId(tokenizer, token, field, config);
  return {
    length,
    useStartEnd,
    padId: idOf(padToken, 'im_patch_token'),
    startId: useStartEnd ? idOf(startToken, 'im_start_token') : undefined,
    endId: useStartEnd ? idOf(endToken, 'im_end_token') : undefined,
  };
}

function checkedId(
  tokenizer: Tokenizer,
  token: string,
  field: keyof ImageTokenConfig,
  config: ImageTokenConfig,
): number {
  const id = tokenizer.tokenToId(token);
  const expected = config[field];
  if (id === undefined) {
    const entry = `{ "${token}": ${expected ?? tokenizer.size} }`;
    throw fileError(
      'tokenizer',
      `it has no ${token}, so it has no place for an image`,
      `add ${entry} to added_tokens.json`,
    );
  }
  if (expected === undefined || expected === id) return id;
  const problem = `${field} is ${String(expected)}, but the tokenizer's ${token} is ${id}`;
  throw fileError('config.json', problem, 'take config.json and the tokenizer files from one checkpoint');
}

/** The block as text. */
function imageBlockText({ length, useStartEnd }: Pick<ImageTokens, 'length' | 'useStartEnd'>): string {
  const pads = padToken.repeat(length);
  return useStartEnd ? startToken + pads + endToken : pads;
}

/** The block as ids. */
export function imageBlockIds({ length, padId, startId, endId }: ImageTokens): number[] {
  const side = (id: number | undefined) => (id === undefined ? [] : [id]);
  return [...side(startId), ...new Array<number>(length).fill(padId), ...side(endId)];
}

/** The multimodal processor: every `<image>` becomes the block (Vary caption_opt.py, multimodal_processor). */
export function expandImages(text: string, images: Pick<ImageTokens, 'length' | 'useStartEnd'>): string {
  return text.replaceAll(imagePlaceholder, imageBlockText(images));
}

/**
 * The texts between the images of a text, one more than it has images. An image is `<image>`, or the whole block where it is
 * written out with exactly the configured number of pads. All other `<img>`, `<imgpad>`, `</img>`, `</s>` … are words of the
 * text: someone's page may speak of them, and none may place an image or end a turn.
 */
export function splitAtImages(text: string, images: Pick<ImageTokens, 'length' | 'useStartEnd'>): string[] {
  return withPlaceholders(text, images).split(imagePlaceholder);
}

/** Written-out blocks as `<image>`. */
function withPlaceholders(text: string, images: Pick<ImageTokens, 'length' | 'useStartEnd'>): string {
  if (images.useStartEnd) return text.replaceAll(imageBlockText(images), imagePlaceholder);
  // Without start and end, only a run of exactly `length` pads is a block: more or fewer would be ambiguous.
  return text.replace(/(?:<imgpad>)+/g, (run) => (run === imageBlockText(images) ? imagePlaceholder : run));
}

/** Throws InputError unless a text or conversation has a place for every image, and an image for every place. */
export function expectImages(places: number, images: number, where: string): void {
  if (places === images) return;
  throw new InputError(
    `${where}: ${images} image(s) for ${places} ${imagePlaceholder}; write one ${imagePlaceholder} per image`,
  );
}
