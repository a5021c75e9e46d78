/** A program: reads IN into OUT in every format and says when a page is done, until it is done or killed. `node killed-read.js IN OUT` */
import { setTimeout } from 'node:timers/promises';
import { formatNames } from '../../src/output/document/formats.js';
import { readInto, scriptedModel } from './bulk.js';

const [input, out] = process.argv.slice(2);
const report = await readInto(out, [input], {
  formats: formatNames,
  model: scriptedModel({ onBatch: () => setTimeout(5) }),
  onProgress: ({ pages }) => process.stdout.write(`${pages}\n`),
});
process.stdout.write(`${JSON.stringify({ done: report })}\n`);
