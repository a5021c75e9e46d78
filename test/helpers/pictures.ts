import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { createRng } from '../../src/core/rng.js';

/** Writes a picture of random coloured squares: other seeds give other pictures. */
export async function writePicture(path: string, seed: number, size = 24): Promise<void> {
  const rng = createRng(seed);
  const cells = Buffer.from(Array.from({ length: 4 * 4 * 3 }, () => rng.integer(0, 256)));
  mkdirSync(dirname(path), { recursive: true });
  await sharp(cells, { raw: { width: 4, height: 4, channels: 3 } })
    .resize(size, size, { kernel: 'nearest' })
    .png()
    .toFile(path);
}

/** Pictures 0.png … in a folder, the odd ones in a folder below. Returns their paths within it, in order. */
export async function pictureFolder(folder: string, count: number): Promise<string[]> {
  const paths = Array.from({ length: count }, (_, i) => (i % 2 === 1 ? `odd/${i}.png` : `${i}.png`));
  for (const [i, path] of paths.entries()) await writePicture(join(folder, path), i);
  return paths;
}
