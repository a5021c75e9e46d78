import { isObject } from '../core/json.js';
import type { ConversationSample } from '../text/messages.js';
import { readJsonItems } from './json-items.js';

/** A conversation of a data file: LLaVA's and Vary's `{ image, conversations }`, or a bare list of turns. */
export interface ConversationRecord {
  /** `file:line`: what messages call it. */
  readonly where: string;
  readonly line: number;
  readonly sample: ConversationSample;
  /** Paths as the file has them, in order; none for a sample of text alone. */
  readonly images: readonly string[];
}

export interface DataProblem {
  readonly line: number;
  readonly problem: string;
}

/** The records of a data file (a JSON array, or JSON lines), and what of it is none. */
export function parseConversations(
  text: string,
  file: string,
): { readonly records: readonly ConversationRecord[]; readonly problems: readonly DataProblem[] } {
  const records: ConversationRecord[] = [];
  const problems: DataProblem[] = [];
  for (const item of readJsonItems(text)) {
    const { line } = item;
    if ('problem' in item) {
      problems.push(item);
      continue;
    }
    const checked = checkItem(item.value);
    if (typeof checked === 'string') problems.push({ line, problem: checked });
    else records.push({ where: `${file}:${line}`, line, ...checked });
  }
  return { records, problems };
}

/** A record's parts, or what is wrong with an item's form. Turns and speakers are checked when it is encoded. */
function checkItem(value: unknown): Pick<ConversationRecord, 'sample' | 'images'> | string {
  if (Array.isArray(value)) return { sample: value as ConversationSample, images: [] };
  if (!isObject(value)) return `expected an object with "conversations", got ${JSON.stringify(value)?.slice(0, 40)}`;
  if (!Array.isArray(value['conversations'])) return 'has no list "conversations"';
  const image = value['image'];
  const images: readonly unknown[] = Array.isArray(image)
    ? image
    : image === undefined || image === null
      ? []
      : [image];
  if (!images.every((path) => typeof path === 'string' && path !== '')) {
    return `"image": expected a path or a list of paths, got ${JSON.stringify(image)?.slice(0, 60)}`;
  }
  return { sample: value as unknown as ConversationSample, images: images as readonly string[] };
}
