// The built-in reader on held-out lines and pages: node dist/bench/reading.js FOLDER [MODEL] [--seed N] [--lines]
// --lines leaves the pages out. What is chosen by one seed is to be reported of another.
// Writes the pages as FOLDER/pages/*.png with their texts, so that other readers can be measured on the same pages:
//   for p in FOLDER/pages/*.png; do tesseract "$p" "FOLDER/tesseract/$(basename "$p" .png)"; done
//   npx varyclip evaluate FOLDER/pages --readings FOLDER/tesseract
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { InputError } from '../src/core/errors.js';
import { unknownMark } from '../src/data/rendered/unknown.js';
import type { Gray } from '../src/image/gray.js';
import type { Pixels } from '../src/image/pixels.js';
import { loadModel, type NodeVaryModel } from '../src/node/load-model.js';
import { createTextRenderer } from '../src/node/rendered/renderer.js';
import { readByCanvas, readingInput } from '../src/node/training/line-batch.js';
import { imageTokensOf } from '../src/text/image-tokens.js';
import { editDistance } from '../src/text/metrics.js';

const { values, positionals } = parseArgs({
  options: { seed: { type: 'string', default: '20260' }, lines: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [folder, dir = 'vary-nano'] = positionals;
if (folder === undefined) throw new InputError('usage: node dist/bench/reading.js FOLDER [MODEL] [--seed N] [--lines]');
/** Fonts and words that training never has; no seed of a run file. */
const seed = Number(values.seed);
const split = 'heldOut';
const renderer = await createTextRenderer();
const model = await loadModel(dir);
if (model.kind !== 'vary' || !model.tokenizer) throw new InputError(`${dir}: expected a reader with a tokenizer`);
const { tokenizer, config } = model;
const imageTokens = imageTokensOf(tokenizer, { image_token_len: config.imageTokens.count });
const reader: NodeVaryModel = model;

type Pair = readonly [truth: string, read: string];

/** Character error rate over all texts, and how many are exact. */
function score(pairs: readonly Pair[]): string {
  const errors = pairs.reduce((sum, [truth, read]) => sum + editDistance([...truth], [...read]), 0);
  const characters = pairs.reduce((sum, [truth]) => sum + [...truth].length, 0);
  const exact = pairs.filter(([truth, read]) => truth === read).length;
  return `CER ${((100 * errors) / characters).toFixed(2)} %, ${exact} of ${pairs.length} exact`;
}

/** How many characters of `truth` that are the mark stand opposite a mark in `read`, in an alignment with the fewest edits. */
function marksFound(truth: string, read: string): number {
  // For every prefix of `read`: edits, and marks found with no more edits than that.
  let row = Array.from({ length: read.length + 1 }, (_, j) => ({ edits: j, found: 0 }));
  for (const wanted of truth) {
    const next = [{ edits: row[0].edits + 1, found: 0 }];
    for (let j = 1; j <= read.length; j++) {
      const same = read[j - 1] === wanted;
      const [left, above, diagonal] = [next[j - 1], row[j], row[j - 1]];
      const ways = [
        { edits: left.edits + 1, found: left.found },
        { edits: above.edits + 1, found: above.found },
        { edits: diagonal.edits + Number(!same), found: diagonal.found + Number(same && wanted === unknownMark) },
      ];
      next.push(ways.reduce((a, b) => (b.edits < a.edits || (b.edits === a.edits && b.found > a.found) ? b : a)));
    }
    row = next;
  }
  return row[read.length].found;
}

const marksIn = (text: string) => text.split(unknownMark).length - 1;

/** Unknown glyphs that were marked, and marks where there is none. */
function scoreMarks(pairs: readonly Pair[]): string {
  const unknown = pairs.reduce((sum, [truth]) => sum + marksIn(truth), 0);
  const found = pairs.reduce((sum, [truth, read]) => sum + marksFound(truth, read), 0);
  const marks = pairs.reduce((sum, [, read]) => sum + marksIn(read), 0);
  const marked = unknown > 0 ? `${found} of ${unknown} unknown glyphs marked, ` : '';
  return `${marked}${marks - found} marks too many`;
}

/** Reads 500 held-out lines. */
async function readHeldOutLines(of: { readonly clean: boolean; readonly unknown?: number }): Promise<string> {
  const [height, width] = config.tower.imageSize;
  const options = {
    seed,
    minWords: 2,
    maxWords: 9,
    maxChars: 44,
    height,
    maxAspect: width / height,
    split,
    ...of,
  } as const;
  const lines = Array.from({ length: 500 }, (_, index) => renderer.renderLine({ ...options, index }));
  const texts = await readByCanvas(lines, config, async (some) => {
    const rows = await reader.generateRows(readingInput(some, { config, tokenizer, imageTokens }));
    return rows.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
  });
  const pairs = lines.map(({ text }, i): Pair => [text, texts[i]]);
  return `${score(pairs)}; ${scoreMarks(pairs)}`;
}

const rgb = ({ width, height, data: gray }: Gray): Pixels => {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < gray.length; i++) data.fill(gray[i], 3 * i, 3 * i + 3);
  return { width, height, channels: 3, data };
};

/** White space counts as one space: line ends are compared by the boxes, not by the error rate. */
const flat = (text: string) => text.replace(/\s+/g, ' ').trim();

async function readHeldOutPages(): Promise<string> {
  mkdirSync(join(folder, 'pages'), { recursive: true });
  const pairs: Pair[] = [];
  let seconds = 0;
  for (let index = 0; index < 20; index++) {
    const page = renderer.renderPage({
      seed,
      index,
      split,
      families: ['nunito-sans', 'crimson-pro'],
      columns: index % 2 === 0 ? 1 : 2,
      pt: 10 + (index % 5),
      dpi: index % 4 < 2 ? 150 : 200,
    });
    const name = join(folder, 'pages', `page-${String(index).padStart(2, '0')}`);
    const { width, height, data } = page.image;
    await sharp(data, { raw: { width, height, channels: 1 } })
      .png()
      .toFile(`${name}.png`);
    writeFileSync(`${name}.txt`, page.text);
    const began = performance.now();
    const { text, lines } = await reader.read(rgb(page.image));
    seconds += (performance.now() - began) / 1000;
    pairs.push([flat(page.text), flat(text)]);
    console.error(`${name}: ${score(pairs.slice(-1))}, ${lines?.length} of ${page.lines.length} lines`);
  }
  return `${score(pairs)}; ${scoreMarks(pairs)}; ${(seconds / 20).toFixed(2)} s a page`;
}

console.log(`500 held-out lines as training has them: ${await readHeldOutLines({ clean: false })}`);
console.log(`500 held-out lines, clean:               ${await readHeldOutLines({ clean: true })}`);
console.log(`500 with glyphs outside the alphabet:    ${await readHeldOutLines({ clean: true, unknown: 0.12 })}`);
if (!values.lines) console.log(`20 held-out pages:                       ${await readHeldOutPages()}`);
await model.dispose();
