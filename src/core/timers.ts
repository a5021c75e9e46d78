/** Timers take no more milliseconds than fit 31 bits; one of more goes off at once. */
export const mostSeconds: number = Math.floor((2 ** 31 - 1) / 1000);

/** Runs a task after some seconds, unless it is called off by what this returns. Node does not stay for it. */
export function afterSeconds(seconds: number, task: () => void): () => void {
  const timer = setTimeout(task, 1000 * seconds);
  (timer as { unref?(): void }).unref?.();
  return () => clearTimeout(timer);
}
