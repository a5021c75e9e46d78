import { parentPort } from 'node:worker_threads';
import { messageOf } from '../../core/errors.js';
import { type LineBatchPlan, renderGroup } from './line-batches.js';
import { createTextRenderer } from './renderer.js';

/** Renders the groups that arrive, in order, and sends them back with their pixels moved. */
async function serve(): Promise<void> {
  const renderer = await createTextRenderer();
  parentPort?.on('message', (plan: LineBatchPlan) => {
    try {
      const lines = renderGroup(renderer, plan);
      const buffers = lines.map(({ pixels }) => pixels.buffer as ArrayBuffer);
      parentPort?.postMessage({ group: plan.group, lines }, buffers);
    } catch (error) {
      parentPort?.postMessage({ group: plan.group, error: messageOf(error) });
    }
  });
}

serve().catch((error) => parentPort?.postMessage({ group: -1, error: messageOf(error) }));
