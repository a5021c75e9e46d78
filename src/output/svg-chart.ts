/** Line charts as SVG text: no script, colours from the page's style. */
import { escapeHtml } from './html.js';

export interface Series {
  readonly name: string;
  /** x ascending. Values that are no numbers are left out. */
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Drawn thin and pale: a single measurement means little. */
  readonly faint?: boolean;
}

export interface ChartOptions {
  readonly title: string;
  /** y by powers of ten; all values must be above 0, others are left out. */
  readonly logarithmic?: boolean;
}

const [width, height] = [560, 260];
const plot = { left: 58, right: 24, top: 34, bottom: 30 };
/** Points drawn of a series: longer ones are averaged piece by piece. */
const maxPoints = 400;

/** Neighbouring points as their mean, so that at most `most` are left. */
export function thinned(points: Series['points'], most: number = maxPoints): Series['points'] {
  if (points.length <= most) return points;
  const size = points.length / most;
  return Array.from({ length: most }, (_, i) => {
    const piece = points.slice(Math.floor(i * size), Math.floor((i + 1) * size));
    const mean = (at: 0 | 1) => piece.reduce((sum, point) => sum + point[at], 0) / piece.length;
    return [mean(0), mean(1)] as const;
  });
}

/** Round numbers between low and high, about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw) ?? raw;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/**
 * 1, 2 and 5 times the powers of ten between low and high, as logarithms; only the powers where those are many, any round numbers
 * where they are few.
 */
export function logarithmicTicks(low: number, high: number): number[] {
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i);
  const within = (factors: readonly number[]) =>
    powers.flatMap((power) => factors.map((factor) => power + Math.log10(factor))).filter((y) => y >= low && y <= high);
  const [all, whole] = [within([1, 2, 5]), within([1])];
  if (all.length < 3) return ticks(10 ** low, 10 ** high, 4).map(Math.log10);
  return all.length <= 7 ? all : whole;
}

/** A number as an axis shows it. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`;
  if (size < 1e-3) return value.toExponential(1).replace('.0e', 'e');
  return String(Number(value.toPrecision(3)));
}

/** A chart of one or more series over steps. */
export function lineChart(series: readonly Series[], { title, logarithmic = false }: ChartOptions): string {
  const drawn = series.map(({ points, ...rest }) => ({
    ...rest,
    points: thinned(points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && (!logarithmic || y > 0))).map(
      ([x, y]) => [x, logarithmic ? Math.log10(y) : y] as const,
    ),
  }));
  const all = drawn.flatMap(({ points }) => points);
  const head = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}"><text class="title" x="${plot.left}" y="18">${escapeHtml(title)}</text>`;
  if (all.length === 0) return `${head}<text x="${plot.left}" y="${height / 2}">nothing yet</text></svg>`;
  const [x0, x1] = extent(all.map(([x]) => x));
  const [low, high] = extent(all.map(([, y]) => y));
  const room = high > low ? 0.04 * (high - low) : Math.abs(high) * 0.1 || 1;
  const [y0, y1] = [low - room, high + room];
  const xAt = (x: number) => plot.left + ((x - x0) / (x1 - x0 || 1)) * (width - plot.left - plot.right);
  const yAt = (y: number) => height - plot.bottom - ((y - y0) / (y1 - y0)) * (height - plot.top - plot.bottom);
  const shownY = (y: number) => shortNumber(logarithmic ? 10 ** y : y);
  const rows = (logarithmic ? logarithmicTicks(y0, y1) : ticks(y0, y1, 4)).map(
    (y) =>
      `<line class="grid" x1="${plot.left}" x2="${width - plot.right}" y1="${at(yAt(y))}" y2="${at(yAt(y))}"/><text class="tick" text-anchor="end" x="${plot.left - 6}" y="${at(yAt(y) + 4)}">${shownY(y)}</text>`,
  );
  const columns = ticks(x0, x1, 5).map(
    (x) => `<text class="tick" text-anchor="middle" x="${at(xAt(x))}" y="${height - 10}">${shortNumber(x)}</text>`,
  );
  const lines = drawn.map(({ points, faint }, i) => {
    const style = `class="s${i}${faint ? ' faint' : ''}"`;
    if (points.length === 1)
      return `<circle ${style} cx="${at(xAt(points[0][0]))}" cy="${at(yAt(points[0][1]))}" r="3"/>`;
    return `<polyline ${style} points="${points.map(([x, y]) => `${at(xAt(x))},${at(yAt(y))}`).join(' ')}"/>`;
  });
  const names =
    series.length > 1 ? series.map(({ name }, i) => `<tspan class="s${i}" dx="10">${escapeHtml(name)}</tspan>`) : [];
  const legend =
    names.length > 0
      ? `<text class="legend" text-anchor="end" x="${width - plot.right}" y="18">${names.join('')}</text>`
      : '';
  return `${head}${legend}${rows.join('')}${columns.join('')}${lines.join('')}</svg>`;
}

const at = (value: number): string => value.toFixed(1);

function extent(values: readonly number[]): readonly [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}
