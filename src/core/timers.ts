/** Timers take no more milliseconds than fit 31 bits; one of more goes off at once. */
export const mostSeconds: number = Math.floor((2 ** 31 - 1) / 1000);
