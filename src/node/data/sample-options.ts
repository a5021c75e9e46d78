import { InputError } from '../../core/errors.js';
import { asObject } from '../../core/json.js';
import type { SampleOptions } from '../../data/sample.js';
import { clipProcessorFrom } from '../../image/clip-processor.js';
import type { ImageMode } from '../../image/image-modes.js';
import { varyConfigFrom } from '../../models/vary.js';
import { imageTokensOf } from '../../text/image-tokens.js';
import { readConfig, readImageProcessor, readTokenizer } from '../checkpoint-dir.js';
import { decodeImage } from '../images.js';

/** How samples are prepared, as plain data that can be sent to a worker. */
export interface SamplePlan
  extends Pick<SampleOptions, 'labelMask' | 'turnSignal' | 'maxLength' | 'roles' | 'augment'> {
  /** A Vary checkpoint directory: its tokenizer, its image block and its image size count. */
  readonly checkpoint: string;
  readonly seed: number;
  /** `image_aspect_ratio`: also prepare each picture for a CLIP tower. */
  readonly imageMode?: ImageMode;
}

/** What a plan means, with the checkpoint's files read. Throws InputError where they do not serve training. */
export function openSampleOptions(plan: SamplePlan): SampleOptions {
  const { checkpoint, imageMode, ...options } = plan;
  const where = `${checkpoint}/config.json`;
  const config = asObject(readConfig(checkpoint), where);
  const { tower, decoder } = varyConfigFrom(config, where);
  const tokenizer = readTokenizer(checkpoint);
  if (!tokenizer) throw new InputError(`${checkpoint}: has no tokenizer: texts cannot be encoded`);
  const [height, width] = tower.imageSize;
  const stored = readImageProcessor(checkpoint);
  const processor = clipProcessorFrom(stored?.json ?? {}, stored?.where);
  return {
    maxLength: decoder.maxPositions,
    ...options,
    tokenizer,
    imageTokens: imageTokensOf(tokenizer, config),
    imageSize: { height, width },
    ...(imageMode && { clip: { processor, mode: imageMode } }),
    loadImage: (path) => decodeImage(path),
  };
}
