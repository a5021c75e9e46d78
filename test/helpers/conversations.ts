import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { temporaryFolder } from './clip-checkpoints.js';

export const checkpoint = 'examples/tiny-vary';

/** A folder with pictures 0.png … and a data file of one conversation each, a line each; `more` is appended. */
export async function conversationFolder(
  count: number,
  more: readonly unknown[] = [],
): Promise<{ readonly folder: string; readonly file: string }> {
  const folder = temporaryFolder();
  const samples: unknown[] = [];
  for (let i = 0; i < count; i++) {
    const background = { r: 20 * i, g: 255 - 20 * i, b: 128 };
    await sharp({ create: { width: 40 + i, height: 30, channels: 3, background } })
      .png()
      .toFile(join(folder, `${i}.png`));
    samples.push({
      image: `${i}.png`,
      conversations: [
        { from: 'human', value: '<image>\nRead.' },
        { from: 'gpt', value: `page ${i}` },
      ],
    });
  }
  const file = join(folder, 'data.json');
  writeFileSync(file, `[\n${[...samples, ...more].map((sample) => JSON.stringify(sample)).join(',\n')}\n]\n`);
  return { folder, file };
}
