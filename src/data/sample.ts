import { InputError } from '../core/errors.js';
import { ignoreIndex } from '../core/labels.js';
import { createRng } from '../core/rng.js';
import type { Tensor } from '../core/tensor.js';
import type { ClipProcessor } from '../image/clip-processor.js';
import { processHigh, testTransform } from '../image/high-processor.js';
import { type ImageMode, processInMode } from '../image/image-modes.js';
import type { Pixels, Size } from '../image/pixels.js';
import { trainTransform } from '../image/train-transform.js';
import { type ConversationOptions, encodeConversation } from '../text/conversation.js';
import type { ImageTokens } from '../text/image-tokens.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { ConversationRecord } from './conversations.js';

export interface SampleOptions extends Pick<ConversationOptions, 'labelMask' | 'turnSignal' | 'maxLength' | 'roles'> {
  readonly tokenizer: Tokenizer;
  readonly imageTokens: ImageTokens;
  /** Of the high tower's input. */
  readonly imageSize: Size;
  /** Change the pictures as `train_transform` does; `seed` and the sample's global index decide how. Default false. */
  readonly augment?: boolean;
  readonly seed: number;
  /** Also prepare each picture for a CLIP tower, in one of Vary's modes. */
  readonly clip?: { readonly processor: ClipProcessor; readonly mode: ImageMode };
  /** Opens a record's picture. Throws InputError naming it. */
  readonly loadImage: (path: string) => Promise<Pixels>;
}

/** A sample that is ready for a batch. */
export interface PreparedSample {
  readonly where: string;
  readonly inputIds: readonly number[];
  readonly labels: readonly number[];
  /** Whether `maxLength` cut something off. */
  readonly truncated: boolean;
  /** float32 [3, H, W] each, in the order of their `<image>`. */
  readonly pixels: readonly Tensor<'float32'>[];
  /** The same pictures for the CLIP tower, where it was asked for. */
  readonly clipPixels: readonly Tensor<'float32'>[];
}

/**
 * A record as ids, labels and pixels: a function of the record, the options and the global index. Throws InputError naming the
 * record where a picture, a speaker or the length is wrong, or nothing is left to learn.
 */
export async function prepareSample(
  record: ConversationRecord,
  globalIndex: number,
  options: SampleOptions,
): Promise<PreparedSample> {
  const { tokenizer, imageTokens, imageSize, augment = false, seed, clip, loadImage } = options;
  const { where } = record;
  const encoded = encodeConversation(tokenizer, imageTokens, record.sample, { ...options, where });
  if (encoded.labels.every((label) => label === ignoreIndex)) {
    throw new InputError(`${where}: every label is masked, there is nothing to learn; does gpt say anything?`);
  }
  const pixels: Tensor<'float32'>[] = [];
  const clipPixels: Tensor<'float32'>[] = [];
  const rng = createRng(seed, globalIndex);
  for (const path of record.images) {
    const image = await loadImage(path).catch((cause: unknown) => {
      if (!(cause instanceof InputError)) throw cause;
      throw new InputError(`${where}: ${cause.message}`, { cause });
    });
    pixels.push(augment ? trainTransform(image, imageSize, rng) : processHigh(image, testTransform(imageSize)));
    if (clip) clipPixels.push(processInMode(image, clip.processor, clip.mode));
  }
  return {
    where,
    inputIds: encoded.inputIds,
    labels: encoded.labels,
    truncated: encoded.truncated,
    pixels,
    clipPixels,
  };
}
