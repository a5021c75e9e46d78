import type { ReadOptions } from '../../infer/reading.js';
import type { FormatName } from '../../output/document/formats.js';
import type { ReaderInfo } from '../../output/document/page.js';
import type { WriteCalls } from '../atomic.js';
import type { NodeVaryModel } from '../load-model.js';
import type { Shard } from '../shard.js';
import type { Inputs } from './inputs.js';

/** What a bulk reading does. */
export interface BulkOptions {
  readonly model: NodeVaryModel;
  readonly reader: ReaderInfo;
  /** The program and its version, for the files that are written. */
  readonly generator: string;
  readonly inputs: Inputs;
  /** The output directory; it keeps the journal too. */
  readonly out: string;
  /** Default txt. */
  readonly formats?: readonly FormatName[];
  /** Of a PDF's pages, and of pictures that do not say theirs. Default 200. */
  readonly dpi?: number;
  /** Takes a PDF's own text where there is one. Default false. */
  readonly textLayer?: boolean;
  /** Threads that open, draw and decode. Default: the machine's cores, at most 4. */
  readonly jobs?: number;
  /** How often a page that cannot be prepared is tried again in this run; `read.retries` is of reading. Default 1. */
  readonly retries?: number;
  /** Ends the job when so large a part of at least 20 pages failed. Default 1: never. */
  readonly maxErrorRate?: number;
  /** Seconds that preparing one page may take. Default 60. */
  readonly timeLimit?: number;
  readonly maxPixels?: number;
  readonly maxBytes?: number;
  /** Of one document. Default 20,000. */
  readonly maxPages?: number;
  /** Replaces files that have an output's name and are not of this job. Default false: the document fails. */
  readonly overwrite?: boolean;
  /** What is read beside the inputs, a list of them for one: no output may be one of these either. */
  readonly alsoRead?: readonly string[];
  /** Seconds of every stage in the JSON files; they differ from run to run. Default false. */
  readonly timings?: boolean;
  readonly shard?: Shard;
  readonly read?: Pick<ReadOptions, 'maxNewTokens' | 'prompt' | 'template' | 'retries' | 'readBlank'>;
  readonly signal?: AbortSignal;
  /** Default: node:fs. */
  readonly fs?: WriteCalls;
  readonly onProgress?: (progress: BulkProgress) => void;
  /** A page or document that failed, as it happens. */
  readonly onProblem?: (message: string) => void;
}

export interface BulkProgress {
  /** Pages read in this run, and how many are left as far as is known. */
  readonly pages: number;
  readonly pagesLeft: number;
  readonly failed: number;
  /** Seconds since the first page was asked for. */
  readonly seconds: number;
}

/** What became of a page or document that could not be read. */
export interface JobFailure {
  readonly source: string;
  /** From 1; of a document that could not be read at all there is none. */
  readonly page?: number;
  readonly reason: string;
}

/** What one process of a job did, in all its runs. */
export interface RankReport {
  readonly rank: number;
  readonly pages: number;
  /** In which it read. */
  readonly seconds: number;
  readonly pagesPerSecond: number;
}

/** What became of a whole job until now: all processes, all runs. */
export interface JobReport {
  readonly documents: number;
  /** Those whose files are written. */
  readonly finished: number;
  /** Those that no process has finished or failed with yet. */
  readonly left: number;
  readonly pages: number;
  /** Pages read with a warning. */
  readonly warned: number;
  readonly failedPages: number;
  readonly failedDocuments: number;
  /** In which at least one process read. A run that was killed is not in it. */
  readonly seconds: number;
  readonly pagesPerSecond: number;
  readonly ranks: readonly RankReport[];
  readonly failures: readonly JobFailure[];
  /** Files in folders whose ending is of nothing that is read: how many, by ending. */
  readonly passedOver: Inputs['passedOver'];
}

/** What became of a job in this run. */
export interface BulkReport {
  /** Documents of this process's share. */
  readonly documents: number;
  /** Those that were finished before and did not change. */
  readonly unchanged: number;
  /** Those whose files were written in this run. */
  readonly finished: number;
  /** Read in this run. */
  readonly pages: number;
  readonly lines: number;
  /** Pages read with a warning. */
  readonly warned: number;
  /** Pages of which something was tried again. */
  readonly retried: number;
  readonly failedPages: number;
  readonly failedDocuments: number;
  readonly seconds: number;
  readonly pagesPerSecond: number;
  readonly failures: readonly JobFailure[];
  /** All processes and runs together; also in `report.json` beside the journals. */
  readonly job: JobReport;
}
