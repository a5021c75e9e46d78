/** Server-sent events whose work goes on whether or not the reader keeps up, and ends when the reader goes away. */

export interface EventStreamOptions {
  /** Seconds that a reader may take nothing while there is something. */
  readonly stallSeconds: number;
  /** Called when the reader went away or takes nothing. */
  readonly onGone: () => void;
}

const headers = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
};

/**
 * Answers with what `run` sends. The response begins with the first event: what is thrown before is thrown here. What is thrown later
 * becomes an event by `describe`.
 */
export async function sendEvents(
  run: (send: (data: string) => void) => Promise<void>,
  describe: (error: unknown) => string,
  { stallSeconds, onGone }: EventStreamOptions,
): Promise<Response> {
  const queue: string[] = [];
  let [begun, ended] = [false, false];
  let wake: () => void = () => undefined;
  let lastTaken = performance.now();
  const push = (data: string) => {
    if (queue.length === 0) lastTaken = performance.now();
    queue.push(`data: ${data}\n\n`);
    begun = true;
    wake();
  };
  const began = new Promise<void>((resolve, reject) => {
    run((data) => {
      push(data);
      resolve();
    })
      .then(resolve, (error: unknown) => {
        if (begun) push(describe(error));
        else reject(error as Error);
      })
      .finally(() => {
        ended = true;
        wake();
      });
  });
  await began;
  const encoder = new TextEncoder();
  let watch: NodeJS.Timeout | undefined;
  const stop = () => clearInterval(watch);
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      watch = setInterval(() => {
        if (queue.length === 0 || performance.now() - lastTaken < 1000 * stallSeconds) return;
        stop();
        queue.length = 0;
        onGone();
        controller.error(new Error('the reader took nothing'));
      }, 250 * stallSeconds);
      watch.unref();
    },
    pull: async (controller) => {
      while (queue.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      lastTaken = performance.now();
      if (queue.length > 0) controller.enqueue(encoder.encode(queue.splice(0).join('')));
      else {
        stop();
        controller.close();
      }
    },
    cancel: () => {
      stop();
      queue.length = 0;
      onGone();
    },
  });
  return new Response(body, { headers });
}
