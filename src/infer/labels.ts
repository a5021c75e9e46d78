import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';

export interface LabelOptions {
  /** What is said of an image with a label: `{}` is its place. Several are averaged. Default 'a photo of a {}'. */
  readonly template?: string | readonly string[];
  /** Cut texts that are longer than the model takes. Default false. */
  readonly truncate?: boolean;
}

export interface Classification {
  readonly label: string;
  readonly score: number;
}

export const defaultTemplate = 'a photo of a {}';

/** Labels as texts, every label with every template, and how their embeddings become one a label. */
export interface WrittenLabels {
  readonly texts: readonly string[];
  /** Unit vectors [labels · templates, E] to the unit vector of each label's mean [labels, E]. */
  average(embeds: Tensor<'float32'>): Tensor<'float32'>;
}

/** Throws InputError for no labels, an empty or repeated one, and a template without `{}`. */
export function writeLabels(
  labels: readonly string[],
  { template = defaultTemplate }: Pick<LabelOptions, 'template'>,
): WrittenLabels {
  const templates = typeof template === 'string' ? [template] : template;
  if (labels.length === 0) throw new InputError('labels: expected at least one');
  if (templates.length === 0) throw new InputError('template: expected at least one');
  const wrong = templates.find((text) => !text.includes('{}'));
  if (wrong !== undefined) throw new InputError(`template ${JSON.stringify(wrong)}: has no {} for the label`);
  const seen = new Set<string>();
  for (const label of labels) {
    if (label.trim() === '') throw new InputError('labels: one of them is empty');
    if (seen.has(label)) throw new InputError(`labels: ${JSON.stringify(label)} occurs twice`);
    seen.add(label);
  }
  return {
    texts: labels.flatMap((label) => templates.map((text) => text.replaceAll('{}', () => label))),
    average: (embeds) => averageGroups(embeds, templates.length),
  };
}

/** The unit vector of the mean of every `size` rows (openai/CLIP, notebook on prompt engineering). */
export function averageGroups({ shape: [rows, width], data }: Tensor<'float32'>, size: number): Tensor<'float32'> {
  const count = rows / size;
  const out = new Float32Array(count * width);
  for (let group = 0; group < count; group++) {
    const mean = out.subarray(group * width, (group + 1) * width);
    for (let row = group * size; row < (group + 1) * size; row++) {
      for (let i = 0; i < width; i++) mean[i] += data[row * width + i] / size;
    }
    const length = Math.hypot(...mean);
    for (let i = 0; i < width; i++) mean[i] /= length;
  }
  return { dtype: 'float32', shape: [count, width], data: out };
}

/** Labels by falling score. CLIP: softmax over the labels; SigLIP: a sigmoid each. */
export function rankLabels(
  labels: readonly string[],
  logits: ArrayLike<number>,
  family: 'clip' | 'siglip',
): Classification[] {
  const values = Array.from(logits);
  const top = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const weights = values.map((value) => (family === 'clip' ? Math.exp(value - top) : 1 / (1 + Math.exp(-value))));
  const total = family === 'clip' ? weights.reduce((a, b) => a + b, 0) : 1;
  return labels.map((label, i) => ({ label, score: weights[i] / total })).sort((a, b) => b.score - a.score);
}
