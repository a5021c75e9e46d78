/** What a run writes beside its checkpoints: metrics.jsonl, and report.html made from it. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject, type JsonObject } from '../../core/json.js';
import { type ReportOptions, trainingReport } from '../../output/training-report.js';
import { writeTextAtomic } from '../atomic.js';
import { makeDirectory } from '../place.js';

export interface MetricsLog {
  /** The last step of a run before this one that the checkpoint does not have; undefined where none was lost. */
  readonly lostUntil: number | undefined;
  add(entry: JsonObject): void;
  /** Writes report.html anew. */
  report(): void;
}

/** Opens a run's metrics at `stepsDone`; entries of later steps were lost with the process that wrote them, and are dropped. */
export function openMetrics(dir: string, stepsDone: number, about: ReportOptions): MetricsLog {
  makeDirectory(dir);
  const path = join(dir, 'metrics.jsonl');
  const before = existsSync(path) ? parseLines(readFileSync(path, 'utf8')) : [];
  const entries = before.filter((entry) => stepOf(entry) <= stepsDone);
  if (entries.length < before.length) {
    writeTextAtomic(path, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  }
  const last = before.reduce((most, entry) => Math.max(most, stepOf(entry)), 0);
  return {
    lostUntil: last > stepsDone ? last : undefined,
    add: (entry) => {
      entries.push(entry);
      appendFileSync(path, `${JSON.stringify(entry)}\n`);
    },
    report: () => writeTextAtomic(join(dir, 'report.html'), trainingReport(entries, about)),
  };
}

const stepOf = (entry: JsonObject): number => Number(entry['step'] ?? 0);

/** The last line may be a part: the process that wrote it was killed. */
function parseLines(text: string): JsonObject[] {
  return text.split('\n').flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return isObject(value) ? [value] : [];
    } catch {
      return [];
    }
  });
}
