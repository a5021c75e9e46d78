import { type ReadingMetrics, readingMetrics, wordsOf } from '../text/metrics.js';
import { escapeHtml } from './html.js';

/** One image with its true text and what was read. */
export interface EvaluatedSample {
  readonly name: string;
  readonly reference: string;
  readonly hypothesis: string;
  readonly metrics: ReadingMetrics;
  /** Seconds the reading took, where it was timed. */
  readonly seconds?: number;
}

/** All samples together: rates by total length, the rest as means. */
export interface EvaluationSummary {
  readonly samples: number;
  /** Samples read without an error. */
  readonly exact: number;
  readonly characters: number;
  readonly cer: number | null;
  readonly wer: number | null;
  readonly normalisedEditDistance: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  readonly bleu: number;
  readonly meteor: number;
}

/** Compares a reading with the truth; unless `exact`, any white space counts as one space and none at the ends. */
export function evaluateSample(
  { name, reference, hypothesis, seconds }: Omit<EvaluatedSample, 'metrics'>,
  { exact = false }: { exact?: boolean } = {},
): EvaluatedSample {
  const shown = (text: string) => (exact ? text : wordsOf(text).join(' '));
  const texts = { reference: shown(reference), hypothesis: shown(hypothesis) };
  const metrics = readingMetrics(texts.reference, texts.hypothesis);
  return { name, ...texts, metrics, ...(seconds !== undefined && { seconds }) };
}

/** Sums up an evaluation of at least one sample. */
export function summarise(samples: readonly EvaluatedSample[]): EvaluationSummary {
  const sum = (value: (sample: EvaluatedSample) => number) =>
    samples.reduce((total, sample) => total + value(sample), 0);
  const mean = (value: (metrics: ReadingMetrics) => number) => sum(({ metrics }) => value(metrics)) / samples.length;
  const characters = sum(({ reference }) => [...reference].length);
  const words = sum(({ reference }) => wordsOf(reference).length);
  return {
    samples: samples.length,
    exact: sum(({ metrics }) => Number(metrics.editDistance === 0)),
    characters,
    cer: characters === 0 ? null : sum(({ metrics }) => metrics.editDistance) / characters,
    wer: words === 0 ? null : sum(({ metrics }) => metrics.wordEditDistance) / words,
    normalisedEditDistance: mean((metrics) => metrics.normalisedEditDistance),
    precision: mean((metrics) => metrics.precision),
    recall: mean((metrics) => metrics.recall),
    f1: mean((metrics) => metrics.f1),
    bleu: mean((metrics) => metrics.bleu),
    meteor: mean((metrics) => metrics.meteor),
  };
}

const columns = ['cer', 'wer', 'normalisedEditDistance', 'precision', 'recall', 'f1', 'bleu', 'meteor'] as const;
const titles = ['CER', 'WER', 'NED', 'P', 'R', 'F1', 'BLEU', 'METEOR'];
const shown = (value: number | null) => (value === null ? '–' : value.toFixed(4));

/** One line per sample and a last one for all of them. */
export function evaluationTable(samples: readonly EvaluatedSample[]): string {
  const rows = [...samples.map(({ name, metrics }) => ({ name, ...metrics })), { name: 'all', ...summarise(samples) }];
  const width = Math.max(...rows.map(({ name }) => name.length), 6);
  const line = (name: string, cells: readonly string[]) =>
    `${name.padEnd(width)}${cells.map((cell) => cell.padStart(8)).join('')}\n`;
  const cells = (row: (typeof rows)[number]) => columns.map((column) => shown(row[column]));
  return line('sample', titles) + rows.map((row) => line(row.name, cells(row))).join('');
}

/** Samples with the most errors for their length first. */
export function worstFirst(samples: readonly EvaluatedSample[]): EvaluatedSample[] {
  return samples.toSorted((a, b) => b.metrics.normalisedEditDistance - a.metrics.normalisedEditDistance);
}

/** What stands in one text and not in the other, by words: the common words are plain, the others marked. */
function marked(text: string, other: string): string {
  const words = wordsOf(text);
  const others = wordsOf(other);
  // Longest common subsequence; pages of very many words are left unmarked.
  if (words.length * others.length > 4e6) return escapeHtml(text);
  const width = others.length + 1;
  const common = new Uint32Array((words.length + 1) * width);
  for (let i = words.length - 1; i >= 0; i--) {
    for (let j = others.length - 1; j >= 0; j--) {
      const at = i * width + j;
      common[at] = words[i] === others[j] ? common[at + width + 1] + 1 : Math.max(common[at + width], common[at + 1]);
    }
  }
  const out: string[] = [];
  let j = 0;
  for (let i = 0; i < words.length; i++) {
    while (j < others.length && words[i] !== others[j] && common[i * width + j + 1] > common[(i + 1) * width + j]) j++;
    const isCommon = j < others.length && words[i] === others[j];
    if (isCommon) j++;
    out.push(isCommon ? escapeHtml(words[i]) : `<mark>${escapeHtml(words[i])}</mark>`);
  }
  return out.join(' ');
}

const style = `body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.2rem .6rem;text-align:right}
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere;min-width:8rem}.wide{overflow-x:auto}tr:nth-child(even){background:#f4f4f4}
tbody tr:last-child{font-weight:600}article{border-top:1px solid #ccc;padding:1rem 0}img{max-width:100%;border:1px solid #ccc}
dt{font-weight:600}dd{margin:0 0 .6rem;white-space:pre-wrap}mark{background:#ffd7d2}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}tr:nth-child(even){background:#222}mark{background:#7a2a22;color:#fff}}`;

/**
 * A page that needs no other file: the figures of every sample and the worst ones as pictures. `pictures` has a data URI by name
 * of sample.
 */
export function evaluationHtml(
  samples: readonly EvaluatedSample[],
  { title, pictures, worst = 20 }: { title: string; pictures: ReadonlyMap<string, string>; worst?: number },
): string {
  const rows = [...samples.map(({ name, metrics }) => ({ name, ...metrics })), { name: 'all', ...summarise(samples) }];
  const body = rows.map((row) => {
    const cells = columns.map((column) => `<td>${shown(row[column])}</td>`).join('');
    return `<tr><td>${escapeHtml(row.name)}</td>${cells}</tr>`;
  });
  const cases = worstFirst(samples)
    .slice(0, worst)
    .filter(({ metrics }) => metrics.editDistance > 0)
    .map(({ name, reference, hypothesis, metrics }) => {
      const picture = pictures.get(name);
      const image = picture ? `<img src="${escapeHtml(picture)}" alt="${escapeHtml(name)}">` : '';
      const text = `<dt>text</dt><dd>${marked(reference, hypothesis)}</dd><dt>read</dt><dd>${marked(hypothesis, reference)}</dd>`;
      return `<article><h3>${escapeHtml(name)}: CER ${shown(metrics.cer)}</h3>${image}<dl>${text}</dl></article>`;
    });
  const head = titles.map((each) => `<th>${each}</th>`).join('');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title>
<style>${style}</style></head><body><h1>${escapeHtml(title)}</h1>
<div class="wide"><table><thead><tr><th>sample</th>${head}</tr></thead><tbody>
${body.join('\n')}
</tbody></table></div>
<h2>Worst cases</h2>
${cases.join('\n') || '<p>None: every sample was read without an error.</p>'}
</body></html>
`;
}
