import { type VaryConfig, varyTiny } from '../src/models/vary.js';

/** A model to measure, and how much of what. */
export interface Size {
  readonly config: VaryConfig;
  readonly tokens: number;
  /** Bytes of the largest image a request has. */
  readonly imageBytes: number;
}

/** Every shape is that of the full one, but small: to try a measurement. */
const tinyConfig: VaryConfig = {
  ...varyTiny,
  decoder: { ...varyTiny.decoder, width: 64, embedWidth: 64, layers: 2, heads: 4, mlpWidth: 128, maxPositions: 512 },
  tower: {
    ...varyTiny.tower,
    imageSize: [256, 256],
    width: 32,
    depth: 4,
    heads: 2,
    windowSize: 7,
    globalBlocks: [1],
    neckChannels: 16,
    netChannels: [32, 64],
  },
  imageTokens: { ...varyTiny.imageTokens, count: 16 },
};

export const sizes: Readonly<Record<'full' | 'tiny', Size>> = {
  full: { config: varyTiny, tokens: 128, imageBytes: 11 << 20 },
  tiny: { config: tinyConfig, tokens: 24, imageBytes: 11 << 20 },
};
