import { isObject, type JsonObject } from '../core/json.js';
import { escapeHtml } from './html.js';
import { lineChart, type Series, shortNumber } from './svg-chart.js';

const style = `body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}
.facts{display:flex;flex-wrap:wrap;gap:.4rem 2rem;margin:0;padding:0;list-style:none}.facts b{font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,32rem),1fr));gap:1rem;margin-top:1.5rem}
svg{width:100%;height:auto;border:1px solid #ddd;border-radius:6px}
svg text{font:12px system-ui,sans-serif;fill:#666}svg .title{font-weight:600;font-size:14px;fill:#222}svg .legend tspan{font-weight:600}
.grid{stroke:#e4e4e4}polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}polyline.faint{stroke-width:1;opacity:.35}
.s0{stroke:#2563c9}.s1{stroke:#c2410c}.s2{stroke:#15803d}.s3{stroke:#7e22ce}circle{fill:currentColor}
tspan.s0{fill:#2563c9;stroke:none}tspan.s1{fill:#c2410c;stroke:none}tspan.s2{fill:#15803d;stroke:none}tspan.s3{fill:#7e22ce;stroke:none}
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .6rem;text-align:left;vertical-align:top;border-top:1px solid #ddd}
td{white-space:pre-wrap;overflow-wrap:anywhere}td:first-child,th{white-space:nowrap}.alarm{color:#b91c1c;font-weight:600}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}svg{border-color:#333}svg text{fill:#aaa}svg .title{fill:#eee}
.grid{stroke:#333}th,td{border-color:#333}.s0{stroke:#6ea8fe}tspan.s0{fill:#6ea8fe}.s1{stroke:#fb923c}tspan.s1{fill:#fb923c}
.s2{stroke:#4ade80}tspan.s2{fill:#4ade80}.s3{stroke:#c084fc}tspan.s3{fill:#c084fc}.alarm{color:#f87171}}`;

/** Evaluations whose readings are shown, the last ones. */
const shownEvaluations = 3;
const figureTitles: Readonly<Record<string, string>> = {
  cer: 'held-out character errors by characters',
  loss: 'held-out loss',
};

const isEvaluation = (entry: JsonObject): boolean => Array.isArray(entry['samples']);

function series(entries: readonly JsonObject[], field: string, name: string = field, faint: boolean = false): Series {
  const points = entries.flatMap((entry) =>
    typeof entry[field] === 'number' ? [[Number(entry['step']), entry[field]] as const] : [],
  );
  return { name, points, faint };
}

/** Names of the held-out figures that evaluations have. */
function figuresOf(evaluations: readonly JsonObject[]): string[] {
  const names = evaluations.flatMap((entry) =>
    Object.keys(entry).filter((name) => name !== 'step' && typeof entry[name] === 'number'),
  );
  return [...new Set(names)];
}

function readings(entry: JsonObject): string[] {
  return (entry['samples'] as readonly unknown[]).filter(isObject).map(({ truth, read }) => {
    const cells = [entry['step'], truth, read].map((cell) => `<td>${escapeHtml(String(cell ?? ''))}</td>`);
    return `<tr>${cells.join('')}</tr>`;
  });
}

export interface ReportOptions {
  readonly title: string;
  /** What steps learn from. Default tokens. */
  readonly unit?: string;
}

/**
 * A page that needs no other file, from the entries of metrics.jsonl: curves of loss, learning rate, gradient norm and held-out
 * figures, and what the model read at its last evaluations.
 */
export function trainingReport(entries: readonly JsonObject[], { title, unit = 'tokens' }: ReportOptions): string {
  const evaluations = entries.filter(isEvaluation);
  const steps = entries.filter((entry) => !isEvaluation(entry));
  const charts = [
    lineChart([series(steps, 'loss', 'each step', true), series(steps, 'smooth', 'smoothed')], {
      title: 'loss',
      logarithmic: true,
    }),
    lineChart([series(steps, 'learningRate')], { title: 'learning rate' }),
    lineChart([series(steps, 'gradNorm')], { title: 'gradient norm, before clipping', logarithmic: true }),
    ...figuresOf(evaluations).map((name) =>
      lineChart([series(evaluations, name)], {
        title: figureTitles[name] ?? `held-out ${name}`,
        logarithmic: name === 'loss',
      }),
    ),
    ...(steps.some((entry) => 'perSecond' in entry)
      ? [lineChart([series(steps, 'perSecond')], { title: `${unit} learnt from per second` })]
      : []),
  ];
  const rows = evaluations.slice(-shownEvaluations).reverse().flatMap(readings);
  const table =
    rows.length === 0
      ? `<p>${evaluations.length === 0 ? 'No evaluation yet.' : 'Figures only.'}</p>`
      : `<table><thead><tr><th>step</th><th>text</th><th>read</th></tr></thead><tbody>\n${rows.join('\n')}\n</tbody></table>`;
  const alarms = entries.flatMap(({ error }) =>
    typeof error === 'string' ? [`<p class="alarm">${escapeHtml(error)}</p>`] : [],
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title>
<style>${style}</style></head><body><h1>${escapeHtml(title)}</h1>
<ul class="facts">${facts(steps, evaluations, unit).join('')}</ul>${alarms.join('')}
<div class="charts">
${charts.join('\n')}
</div>
<h2>Held-out samples</h2>
${table}
</body></html>
`;
}

/** The latest figures. */
function facts(steps: readonly JsonObject[], evaluations: readonly JsonObject[], unit: string): string[] {
  const last = steps.at(-1) ?? {};
  const evaluation = evaluations.at(-1) ?? {};
  const values: readonly (readonly [string, unknown])[] = [
    ['step', last['step']],
    ['loss', last['smooth'] ?? last['loss']],
    ['learning rate', last['learningRate']],
    [`${unit}/s`, last['perSecond']],
    ['seconds waited for data', last['waited']],
    ...figuresOf([evaluation]).map((name) => [`held-out ${name}`, evaluation[name]] as const),
  ];
  return values.flatMap(([name, value]) =>
    typeof value === 'number'
      ? [`<li>${escapeHtml(name)} <b>${name === 'step' ? value : shortNumber(value)}</b></li>`]
      : [],
  );
}
