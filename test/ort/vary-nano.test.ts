import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { unknownMark } from '../../src/data/rendered/unknown.js';
import { createVaryModel, type ModelParts } from '../../src/infer/model.js';
import { checkpointLoader, nameWeights } from '../../src/infer/weights.js';
import { varyFamily } from '../../src/models/graphs.js';
import { renameVaryTensor, type VaryConfig, withoutDraft } from '../../src/models/vary.js';
import { builtinFolder } from '../../src/node/builtin-models.js';
import { openWeights } from '../../src/node/checkpoint-dir.js';
import { decodeImage } from '../../src/node/images.js';
import { loadModel, type NodeVaryModel } from '../../src/node/load-model.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';
import { readByCanvas, readingInput } from '../../src/node/training/line-batch.js';
import type { Session } from '../../src/runtime/runtime.js';
import { imageTokensOf } from '../../src/text/image-tokens.js';
import { editDistance } from '../../src/text/metrics.js';
import { strip } from '../helpers/bulk.js';
import { examplePath, runCli } from '../helpers/cli.js';
import { warningsDuring } from '../helpers/warnings.js';

const page = examplePath('page.png');
const truth = readFileSync(examplePath('page.txt'), 'utf8');
const model = (await loadModel('vary-nano', { threads: 2 })) as NodeVaryModel;
after(() => model.dispose());

/** Character error rate, any white space as one space. */
function errorRate(read: string): number {
  const [wanted, got] = [truth, read].map((text) => [...text.replace(/\s+/g, ' ').trim()]);
  return editDistance(wanted, got) / wanted.length;
}

test('the example page is read, line by line, with places and confidences', async () => {
  const streamed: string[] = [];
  const { text, lines, finishReason, warnings } = await model.read(page, { onText: (part) => streamed.push(part) });
  assert.ok(errorRate(text) < 0.02, `character error rate ${errorRate(text)}:\n${text}`);
  assert.equal(streamed.join(''), text);
  assert.ok(streamed.length > 10, 'line by line');
  assert.equal(finishReason, 'stop');
  // A line that was read again may be said, nothing else.
  assert.deepEqual(
    warnings.filter((warning) => !/^1 line had little confidence and was read again: 1 better$/.test(warning)),
    [],
  );
  assert.ok(!text.includes(unknownMark));
  const wanted = truth.split('\n').filter((line) => line !== '');
  assert.equal(lines?.length, wanted.length);
  assert.equal(text.split('\n\n').length, truth.trimEnd().split('\n\n').length, 'paragraphs');
  let below = 0;
  for (const { box, confidence } of lines ?? []) {
    assert.ok(box.top >= below && box.left > 0 && box.width > 10 && box.height > 5, JSON.stringify(box));
    below = box.top;
    assert.ok(confidence > 0.5 && confidence <= 1, `confidence ${confidence}`);
  }
});

test('a page is read as people see it: turned by EXIF, on transparent paper', async () => {
  const top = await sharp(page).extract({ left: 0, top: 0, width: 1240, height: 330 }).removeAlpha().toBuffer();
  const { text } = await model.read(top);
  assert.ok(text.startsWith('Reading, line by line'), text);
  const lying = await sharp(top).rotate(-90).withMetadata({ orientation: 6 }).png().toBuffer();
  assert.equal((await model.read(lying)).text, text);
  const ink = await sharp(top).toColourspace('b-w').negate().raw().toBuffer({ resolveWithObject: true });
  const { width, height } = ink.info;
  const glass = await sharp({ create: { width, height, channels: 3, background: '#000' } })
    .joinChannel(ink.data, { raw: { width, height, channels: 1 } })
    .png()
    .toBuffer();
  assert.ok((await model.read(glass)).text.startsWith('Reading, line by line'));
});

test('glyphs outside the alphabet are marked about every other time, and others are not', async () => {
  const { tokenizer, config } = model;
  assert.ok(tokenizer);
  const renderer = await createTextRenderer();
  const [height, width] = config.tower.imageSize;
  const options = { seed: 31, minWords: 3, maxWords: 6, maxChars: 40, height, maxAspect: width / height } as const;
  const lines = Array.from({ length: 40 }, (_, index) =>
    renderer.renderLine({ ...options, index, clean: true, split: 'heldOut', unknown: 0.25 }),
  );
  const imageTokens = imageTokensOf(tokenizer, { image_token_len: config.imageTokens.count });
  const texts = await readByCanvas(lines, config, async (some) => {
    const rows = await model.generateRows(readingInput(some, { config, tokenizer, imageTokens }));
    return rows.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
  });
  const marksIn = (text: string) => text.split(unknownMark).length - 1;
  let [wanted, found, toomany] = [0, 0, 0];
  for (const [i, { text }] of lines.entries()) {
    const read = marksIn(texts[i]);
    const marks = marksIn(text);
    wanted += marks;
    found += Math.min(marks, read);
    toomany += Math.max(0, read - marks);
  }
  assert.ok(
    wanted > 40 && found > 0.4 * wanted && toomany < 0.1 * wanted,
    `${found} of ${wanted}, ${toomany} too many`,
  );
});

test('a page reads the same alone and beside others', async () => {
  const alone = await model.read(page);
  const [first, second] = await model.readAll([page, page]);
  assert.equal(first.text, alone.text);
  assert.equal(second.text, alone.text);
});

test('many pictures read together listen to one signal without a warning', async () => {
  const { signal } = new AbortController();
  const pictures = await Promise.all(Array.from({ length: 12 }, (_, i) => strip(i, 40)));
  const { result, warnings } = await warningsDuring(() => model.readAll(pictures, { signal, retries: 0 }));
  assert.deepEqual([result.length, warnings], [12, []]);
});

test('the tower drafts most of a page, and no letter depends on it', async () => {
  const dir = builtinFolder('vary-nano');
  const checkpoint = await openWeights(dir);
  after(() => checkpoint.dispose());
  const decodingRuns = async (config: VaryConfig) => {
    let steps = 0;
    const counted = (session: Session): Session => ({
      ...session,
      run: (feeds, options) => {
        const [rows, tokens] = session.graph.name === 'decoder' ? feeds['inputIds'].shape : [];
        if (tokens === 1) steps += rows;
        return session.run(feeds, options);
      },
      fork: () => counted(session.fork()),
    });
    const runtime = createRuntime({ threads: 1 });
    const parts: ModelParts = {
      family: varyFamily(config),
      runtime: { ...runtime, compile: async (graph, options) => counted(await runtime.compile(graph, options)) },
      weights: checkpointLoader(nameWeights(checkpoint, renameVaryTensor)),
      precision: 'float32',
      close: () => undefined,
      ...(model.tokenizer && {
        tokenizer: model.tokenizer,
        imageTokens: imageTokensOf(model.tokenizer, { image_token_len: config.imageTokens.count }),
      }),
    };
    const other = createVaryModel(parts);
    const { text } = await other.read(await decodeImage(page));
    await other.dispose();
    return { steps, text };
  };
  assert.ok(model.config.draft);
  const drafted = await decodingRuns(model.config);
  const plain = await decodingRuns(withoutDraft(model.config));
  assert.equal(drafted.text, plain.text);
  assert.ok(drafted.steps < 0.5 * plain.steps, `${drafted.steps} tokens one by one, ${plain.steps} without drafts`);
});

test('the command needs no model, and a blank page is no text and a warning', async () => {
  const { code, out, err } = await runCli(['read', page, '--threads', '2']);
  assert.equal(code, 0, err);
  assert.ok(errorRate(out) < 0.02);
  const data = new Uint8Array(300 * 200 * 3).fill(250);
  const blank = await model.read({ width: 300, height: 200, channels: 3, data });
  assert.equal(blank.text, '');
  assert.equal(blank.warnings.length, 1);
});
