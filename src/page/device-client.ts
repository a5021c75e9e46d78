/** Reading on this device, as the page uses it. */
import { AbortedError, InputError } from '../core/errors.js';
import type { WorkerAnswer } from './device-worker.js';
import type { ReadPicture } from './reading.js';

/** A reader in a worker of its own, which is started with the first picture and ended to stop a reading. */
export function createDeviceReader(): ReadPicture {
  let worker: Worker | undefined;
  let readings = 0;
  const end = () => {
    worker?.terminate();
    worker = undefined;
  };
  return ({ file, onText, onStage, signal }) =>
    new Promise((resolve, reject) => {
      const id = readings++;
      worker ??= new Worker(new URL('device-worker.js', import.meta.url), { type: 'module' });
      const own = worker;
      const stop = () => {
        // WebAssembly cannot be interrupted; the model is fetched from the cache next time.
        if (worker === own) end();
        reject(new AbortedError('aborted by its signal'));
      };
      signal.addEventListener('abort', stop, { once: true });
      const done = () => signal.removeEventListener('abort', stop);
      own.onerror = (event) => {
        done();
        if (worker === own) end();
        reject(new InputError(`this browser cannot run the model: ${event.message || 'its worker did not start'}`));
      };
      own.onmessage = ({ data }: MessageEvent<WorkerAnswer>) => {
        if (data.id !== id) return;
        if (data.kind === 'stage') onStage(data.stage);
        else if (data.kind === 'text') onText(data.text);
        else {
          done();
          if (data.kind === 'reading') resolve(data.reading);
          else reject(new InputError(data.message));
        }
      };
      own.postMessage({ id, file });
    });
}
