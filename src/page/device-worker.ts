/** Reads pictures in a worker: the page stays free while the model runs. */
import { messageOf } from '../core/errors.js';
import type { VaryModel } from '../infer/model.js';
import { lookOf } from '../infer/prepare.js';
import { decodeImage } from '../web/images.js';
import { loadModel } from '../web/load-model.js';
import type { PageReading } from './reading.js';

export interface WorkerRequest {
  readonly id: number;
  readonly file: Blob;
}

export type WorkerAnswer = { readonly id: number } & (
  | { readonly kind: 'stage'; readonly stage: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'reading'; readonly reading: PageReading }
  | { readonly kind: 'error'; readonly message: string }
);

// The part of a worker's scope that is used: the DOM's types are a window's.
const scope = self as unknown as {
  postMessage(answer: WorkerAnswer): void;
  onmessage: ((event: MessageEvent<WorkerRequest>) => void) | null;
};
let model: Promise<VaryModel> | undefined;

function openModel(): Promise<VaryModel> {
  model ??= loadModel(new URL('models/vary-nano/', import.meta.url).href, {
    wasm: new URL('ort-wasm-simd-threaded.wasm', import.meta.url).href,
  }).catch((error: unknown) => {
    // The next picture tries again.
    model = undefined;
    throw error;
  });
  return model;
}

async function read({ id, file }: WorkerRequest): Promise<void> {
  try {
    scope.postMessage({ id, kind: 'stage', stage: 'Fetching the model…' });
    const reader = await openModel();
    scope.postMessage({ id, kind: 'stage', stage: 'Reading on this device…' });
    const {
      text,
      finishReason,
      warnings,
      lines = [],
    } = await reader.read(await decodeImage(file, lookOf(reader.config)), {
      onText: (more) => scope.postMessage({ id, kind: 'text', text: more }),
    });
    scope.postMessage({ id, kind: 'reading', reading: { text, finishReason, warnings, lines } });
  } catch (error) {
    scope.postMessage({ id, kind: 'error', message: messageOf(error) });
  }
}

scope.onmessage = ({ data }) => void read(data);
