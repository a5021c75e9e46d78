/** What a picture was read as, wherever that was done. */
import type { ReadResult } from '../infer/reading.js';

export type ReadLine = NonNullable<ReadResult['lines']>[number];

export interface PageReading {
  readonly text: string;
  readonly finishReason: string;
  readonly warnings: readonly string[];
  /** Of a model that reads line by line. */
  readonly lines: readonly ReadLine[];
}

export interface ReadRequest {
  readonly file: Blob;
  /** Text as it is read, whole characters only. */
  readonly onText: (text: string) => void;
  /** What is going on before the first text. */
  readonly onStage: (stage: string) => void;
  readonly signal: AbortSignal;
}

export type ReadPicture = (request: ReadRequest) => Promise<PageReading>;
