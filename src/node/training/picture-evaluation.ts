/** Examines a two-tower model on a file of pictures with labels. */
import { InputError } from '../../core/errors.js';
import { floats, type Tensor } from '../../core/tensor.js';
import type { PairRecord } from '../../data/pairs.js';
import type { ClipModel } from '../../infer/clip-model.js';
import { type RetrievalFigures, retrievalFigures } from '../../infer/retrieval.js';
import { type PairSet, readPairSet } from '../data/pair-data.js';
import { decodeImage } from '../images.js';

export interface Examination extends PairSet {
  /** A file whose labels compete too, beside the pictures' own. */
  readonly labelsFrom?: string;
  /** With `{}` for what a label's texts say. Default: the text itself, and as a picture of it. */
  readonly templates?: readonly string[];
  /** Pictures looked at. Default: all. */
  readonly limit?: number;
}

const defaultTemplates = ['{}', 'a picture of a {}'];

/** The labels' embeddings are the mean of those of their texts in all templates. */
export async function examine(
  model: Pick<ClipModel, 'embedImages' | 'embedTexts'>,
  { labelsFrom, templates = defaultTemplates, limit, ...set }: Examination,
): Promise<RetrievalFigures> {
  const records = readPairSet(set).slice(0, limit);
  const competing = labelsFrom === undefined ? [] : readPairSet({ file: labelsFrom });
  const textsOf = new Map<string, readonly string[]>();
  for (const { label, texts } of [...records, ...competing]) if (!textsOf.has(label)) textsOf.set(label, texts);
  const labels = [...textsOf.keys()];
  const place = new Map(labels.map((label, i) => [label, i]));
  const embeds: Tensor<'float32'>[] = [];
  for (let at = 0; at < records.length; at += 64) embeds.push(await embedPictures(model, records.slice(at, at + 64)));
  return retrievalFigures(
    underEachOther(embeds),
    await embedLabels(model, [...textsOf.values()], templates),
    records.map(({ label }) => place.get(label) ?? -1),
  );
}

async function embedPictures(
  model: Pick<ClipModel, 'embedImages'>,
  records: readonly PairRecord[],
): Promise<Tensor<'float32'>> {
  const pixels = [];
  for (const { where, images } of records) {
    if (images.length !== 1) throw new InputError(`${where}: expected one picture to examine, got ${images.length}`);
    pixels.push(await decodeImage(images[0]));
  }
  return model.embedImages(pixels);
}

async function embedLabels(
  model: Pick<ClipModel, 'embedTexts'>,
  texts: readonly (readonly string[])[],
  templates: readonly string[],
): Promise<Tensor<'float32'>> {
  const written = texts.flatMap((names, label) =>
    names.flatMap((name) => templates.map((template) => ({ label, text: template.replaceAll('{}', name) }))),
  );
  const { shape, data } = await model.embedTexts(
    written.map(({ text }) => text),
    { truncate: true },
  );
  const width = shape[1];
  const means = new Float32Array(texts.length * width);
  written.forEach(({ label }, row) => {
    for (let i = 0; i < width; i++) means[label * width + i] += data[row * width + i];
  });
  for (let label = 0; label < texts.length; label++) normalise(means.subarray(label * width, (label + 1) * width));
  return floats([texts.length, width], means);
}

function normalise(vector: Float32Array): void {
  const norm = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
  for (let i = 0; i < vector.length; i++) vector[i] /= norm;
}

function underEachOther(parts: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const rows = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return floats([rows, data.length / rows], data);
}
