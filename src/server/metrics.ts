/** Counters in Prometheus' text format 0.0.4, with vLLM's names under our prefix. */

export type Labels = Readonly<Record<string, string>>;

export interface Metrics {
  add(name: CounterName, labels?: Labels, by?: number): void;
  observe(name: HistogramName, labels: Labels, seconds: number): void;
  /** `gauges`: values of the moment, by name. */
  render(gauges: readonly GaugeValue[]): string;
}

export interface GaugeValue {
  readonly name: GaugeName;
  readonly labels: Labels;
  readonly value: number;
}

const counters = {
  request_success_total: 'requests that were answered, by how their text ended',
  request_failure_total: 'requests that were refused or failed, by status',
  prompt_tokens_total: 'tokens of prompts',
  generation_tokens_total: 'tokens that were generated',
  images_total: 'images that were read or embedded',
} as const;
const gauges = {
  num_requests_running: 'requests that are decoded',
  num_requests_waiting: 'requests that wait for their turn',
  slots_used: 'rows of the decoding batch in use',
  event_loop_delay_max_seconds: 'longest pause of the event loop since this was last asked',
  resident_memory_bytes: 'memory of the process',
} as const;
const histograms = {
  time_to_first_token_seconds: 'seconds until the first token',
  time_per_output_token_seconds: 'seconds per token after the first',
  e2e_request_latency_seconds: 'seconds of a whole request',
} as const;

export type CounterName = keyof typeof counters;
export type GaugeName = keyof typeof gauges;
export type HistogramName = keyof typeof histograms;

const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250];

interface Histogram {
  readonly labels: Labels;
  readonly buckets: number[];
  sum: number;
  count: number;
}

const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');

function labelled(labels: Labels): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return '';
  return `{${entries.map(([name, value]) => `${name}="${escaped(value)}"`).join(',')}}`;
}

export function createMetrics(): Metrics {
  const counts = new Map<CounterName, Map<string, number>>();
  const measured = new Map<HistogramName, Map<string, Histogram>>();
  const countLines = (name: CounterName) =>
    [...(counts.get(name) ?? [])].map(([labels, value]) => `varyclip_${name}${labels} ${value}`);
  const histogramLines = (name: HistogramName) =>
    [...(measured.get(name)?.values() ?? [])].flatMap(({ labels, buckets, sum, count }) => [
      ...bounds.map((le, i) => `varyclip_${name}_bucket${labelled({ ...labels, le: String(le) })} ${buckets[i]}`),
      `varyclip_${name}_bucket${labelled({ ...labels, le: '+Inf' })} ${count}`,
      `varyclip_${name}_sum${labelled(labels)} ${sum}`,
      `varyclip_${name}_count${labelled(labels)} ${count}`,
    ]);
  const head = (name: string, help: string, type: string) => [
    `# HELP varyclip_${name} ${help}`,
    `# TYPE varyclip_${name} ${type}`,
  ];
  return {
    add: (name, labels = {}, by = 1) => {
      const table = counts.get(name) ?? new Map<string, number>();
      counts.set(name, table);
      const key = labelled(labels);
      table.set(key, (table.get(key) ?? 0) + by);
    },
    observe: (name, labels, seconds) => {
      const table = measured.get(name) ?? new Map<string, Histogram>();
      measured.set(name, table);
      const key = labelled(labels);
      const histogram = table.get(key) ?? { labels, buckets: bounds.map(() => 0), sum: 0, count: 0 };
      table.set(key, histogram);
      histogram.sum += seconds;
      histogram.count++;
      bounds.forEach((bound, i) => {
        if (seconds <= bound) histogram.buckets[i]++;
      });
    },
    render: (values) => {
      const lines = [
        ...Object.entries(gauges).flatMap(([name, help]) => [
          ...head(name, help, 'gauge'),
          ...values
            .filter((value) => value.name === name)
            .map((v) => `varyclip_${name}${labelled(v.labels)} ${v.value}`),
        ]),
        ...Object.entries(counters).flatMap(([name, help]) => [
          ...head(name, help, 'counter'),
          ...countLines(name as CounterName),
        ]),
        ...Object.entries(histograms).flatMap(([name, help]) => [
          ...head(name, help, 'histogram'),
          ...histogramLines(name as HistogramName),
        ]),
      ];
      return `${lines.join('\n')}\n`;
    },
  };
}
