/**
 * A pause for long work on the event loop: whoever waits comes in between, where so many milliseconds have passed since the last
 * time. For loops whose length a request may choose.
 */
export function createPauses(milliseconds = 5): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < milliseconds) return;
    await new Promise<void>((resolve) => void setImmediate(resolve));
    since = performance.now();
  };
}
