import { readFileSync } from 'node:fs';
import type { Pixels } from '../../src/image/pixels.js';
import { decodeImage } from '../../src/node/images.js';
import { fixturePath } from './fixtures.js';

/** A fixture image as RGB. */
export function fixturePixels(name: string): Promise<Pixels> {
  return decodeImage(readFileSync(fixturePath(name)));
}
