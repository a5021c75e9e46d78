/** Figures of two towers on pictures with labels: zero-shot accuracy and recall. */
import type { Tensor } from '../core/tensor.js';

export interface RetrievalFigures {
  /** Pictures whose own label is the likeliest of all. */
  readonly top1: number;
  readonly top5: number;
  /** Pictures that have their own label among the ten likeliest. */
  readonly recall10: number;
  /** Labels that have one of their pictures among the ten likeliest. */
  readonly textRecall10: number;
  readonly pictures: number;
  readonly labels: number;
}

/**
 * Ranks all labels for each picture and all pictures for each label. Unit vectors pictures [N, E] and labels [M, E]; `truth` is
 * the label of each picture. Labels without pictures only compete.
 */
export function retrievalFigures(
  pictures: Tensor<'float32'>,
  labels: Tensor<'float32'>,
  truth: readonly number[],
): RetrievalFigures {
  const [N, M, E] = [pictures.shape[0], labels.shape[0], labels.shape[1]];
  const scores = Array.from({ length: N }, (_, n) => {
    const picture = pictures.data.subarray(n * E, (n + 1) * E);
    return Float32Array.from({ length: M }, (_, m) => dot(picture, labels.data, m * E));
  });
  const rankOf = (n: number) => scores[n].reduce((rank, score) => rank + Number(score > scores[n][truth[n]]), 0);
  const ranks = truth.map((_, n) => rankOf(n));
  const best = new Map<number, number>();
  truth.forEach((label, n) => {
    const rank = scores.reduce((sum, row) => sum + Number(row[label] > scores[n][label]), 0);
    best.set(label, Math.min(best.get(label) ?? N, rank));
  });
  const within = (list: readonly number[], k: number) => list.filter((rank) => rank < k).length / list.length;
  return {
    top1: within(ranks, 1),
    top5: within(ranks, 5),
    recall10: within(ranks, 10),
    textRecall10: within([...best.values()], 10),
    pictures: N,
    labels: M,
  };
}

function dot(a: Float32Array, b: Float32Array, at: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[at + i];
  return sum;
}
