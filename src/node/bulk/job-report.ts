/** One report of a whole job, made of what the journals of all its processes say. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeTextAtomic } from '../atomic.js';
import type { Inputs } from './inputs.js';
import type { JobFailure, JobReport, RankReport } from './job-options.js';
import { countFailed, isWritten, type JournalSurvey, journalBytes, type RunRecord, surveyJournals } from './journal.js';

const reportName = 'report.json';
export const lockName = (rank: number): string => `lock.${rank}`;

/**
 * Makes the report of a job and writes it into `state`. Every process does so when it has given back its lock: one that sees others
 * at work leaves the last word to them, and the last one goes on until no journal has grown since it looked.
 */
export function reportJob(state: string, inputs: Inputs): JobReport {
  for (;;) {
    const { report, bytes } = surveyJournals(state, (survey) => ({
      report: reportOf(survey, inputs),
      bytes: survey.bytes,
    }));
    writeTextAtomic(join(state, reportName), `${JSON.stringify(report, null, 2)}\n`);
    if (journalBytes(state) === bytes || isShared(state)) return report;
  }
}

const isShared = (state: string): boolean => readdirSync(state).some((name) => /^lock\.\d+$/.test(name));

function reportOf(survey: JournalSurvey, { documents, problems, passedOver }: Inputs): JobReport {
  const failures: JobFailure[] = [...problems];
  const pagesBy = new Map<number, number>();
  let [finished, left, pages, warned, failedPages, failedDocuments] = [0, 0, 0, 0, 0, problems.length];
  for (const { key, source } of documents) {
    const failure = survey.failures.get(key);
    const known = survey.documents.get(key);
    if (failure) {
      failedDocuments++;
      failures.push({ source, reason: failure.reason });
    } else if (known && isWritten(known)) finished++;
    // Where no page could be read, there are no files to write.
    else if (!known || countFailed(known) < known.pages.length) left++;
    for (const [i, page] of known?.pages.entries() ?? []) {
      if (!page) continue;
      if ('failure' in page) {
        failedPages++;
        failures.push({ source, page: i + 1, reason: page.failure });
        continue;
      }
      pages++;
      if (page.warnings > 0) warned++;
      const rank = survey.ranks[page.journal];
      pagesBy.set(rank, (pagesBy.get(rank) ?? 0) + 1);
    }
  }
  const counts = { documents: documents.length, finished, left, pages, warned, failedPages, failedDocuments };
  const ranks = survey.ranks.map((rank, i): RankReport => {
    const own = survey.runs.filter(({ journal }) => journal === i);
    return { rank, pages: pagesBy.get(rank) ?? 0, ...rateOf(own) };
  });
  return { ...counts, ...rateOf(survey.runs), ranks: ranks.sort((a, b) => a.rank - b.rank), failures, passedOver };
}

/** Pages a second, where runs at the same time count as one time. */
function rateOf(runs: readonly RunRecord[]): { readonly seconds: number; readonly pagesPerSecond: number } {
  let [seconds, until] = [0, Number.NEGATIVE_INFINITY];
  for (const run of [...runs].sort((a, b) => a.began - b.began)) {
    const end = run.began / 1000 + run.seconds;
    seconds += Math.max(0, end - Math.max(until, run.began / 1000));
    until = Math.max(until, end);
  }
  const pages = runs.reduce((sum, run) => sum + run.pages, 0);
  return { seconds, pagesPerSecond: seconds === 0 ? 0 : pages / seconds };
}
