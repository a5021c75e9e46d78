import { InputError, messageOf } from '../../core/errors.js';
import { type CheckOptions, checkRecord } from '../../data/check.js';
import type { ConversationRecord, DataProblem } from '../../data/conversations.js';
import { decodeImage } from '../images.js';
import { expectFile, lookAt } from '../place.js';
import { type DataSet, readDataSet } from './training-data.js';

export interface CheckDataOptions extends CheckOptions {
  /** Decode every picture; otherwise they only have to be there. Default true. */
  readonly decode?: boolean;
  readonly signal?: AbortSignal;
  /** Called now and then with the records done. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface DataReport {
  readonly samples: number;
  readonly images: number;
  /** In the order of their lines. */
  readonly problems: readonly DataProblem[];
}

/** Pictures that are decoded at once. */
const concurrency = 4;

/** Everything that is wrong with a data file, by line. Throws InputError where it cannot be read at all. */
export async function checkData(set: DataSet, options: CheckDataOptions = {}): Promise<DataReport> {
  const { decode = true, signal, onProgress } = options;
  const { records, problems: unread } = readDataSet(set);
  const problems: DataProblem[] = [...unread];
  const known = new Map<string, Promise<string | undefined>>();
  const checkImage = (path: string): Promise<string | undefined> => {
    const result = known.get(path) ?? imageProblem(path, decode);
    known.set(path, result);
    return result;
  };
  const checkOne = async (record: ConversationRecord): Promise<void> => {
    const images = await Promise.all(record.images.map(checkImage));
    const found = [...checkRecord(record, options), ...images.filter((problem) => problem !== undefined)];
    for (const problem of found) problems.push({ line: record.line, problem });
  };
  for (let at = 0; at < records.length; at += concurrency) {
    signal?.throwIfAborted();
    await Promise.all(records.slice(at, at + concurrency).map(checkOne));
    onProgress?.(Math.min(at + concurrency, records.length), records.length);
  }
  const images = records.reduce((sum, record) => sum + record.images.length, 0);
  return { samples: records.length, images, problems: problems.sort((a, b) => a.line - b.line) };
}

async function imageProblem(path: string, decode: boolean): Promise<string | undefined> {
  if (lookAt(path).kind === 'none') return `missing image: ${path}`;
  try {
    expectFile(path, path, 'an image file');
    if (decode) await decodeImage(path);
    return undefined;
  } catch (error) {
    if (error instanceof InputError) return `unreadable image: ${messageOf(error)}`;
    throw error;
  }
}
