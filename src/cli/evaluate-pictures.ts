import { resolve } from 'node:path';
import { InputError } from '../core/errors.js';
import { examine } from '../node/training/picture-evaluation.js';
import type { Arguments } from './arguments.js';
import { openClipModel } from './clip-options.js';
import type { Io } from './command.js';

/** Whether what is to be measured is a file of pictures and their names. */
export const isPairFile = (path: string): boolean => /\.(jsonl|csv|tsv)$/i.test(path);

/** Zero-shot accuracy and recall of a CLIP model on a file of pictures with labels. */
export async function evaluatePictures(file: string, args: Arguments, io: Io): Promise<number> {
  for (const name of ['readings', 'report', 'worst', 'max-new-tokens']) {
    if (args.text(name) !== undefined) throw new InputError(`--${name}: is for readings of a folder, not for ${file}`);
  }
  const labelsFrom = args.text('labels-from');
  const model = await openClipModel('evaluate', args);
  try {
    const figures = await examine(model, {
      file: resolve(file),
      ...(labelsFrom !== undefined && { labelsFrom: resolve(labelsFrom) }),
    });
    if (args.flag('json')) {
      io.out(`${JSON.stringify(figures)}\n`);
      return 0;
    }
    const percent = (part: number) => `${(100 * part).toFixed(1)} %`;
    const { pictures, labels, top1, top5, recall10, textRecall10 } = figures;
    io.out(
      `pictures\t${pictures}\nlabels\t${labels}\ntop-1\t${percent(top1)}\ntop-5\t${percent(top5)}\nrecall@10 of pictures\t${percent(recall10)}\nrecall@10 of labels\t${percent(textRecall10)}\n`,
    );
    return 0;
  } finally {
    await model.dispose();
  }
}
