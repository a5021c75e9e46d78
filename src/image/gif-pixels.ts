/** Codes have twelve bits at most (GIF89a, appendix F). */
const mostBits = 12;

/** The bits of a frame's data, which come in blocks that say their lengths; the lowest of a byte come first. */
function createBits(view: DataView, start: number): (count: number) => number | undefined {
  let [at, left] = [start, 0];
  let [bits, held] = [0, 0];
  return (count) => {
    while (held < count) {
      if (left === 0) {
        left = at < view.byteLength ? view.getUint8(at++) : 0;
        if (left === 0) return undefined;
      }
      if (at >= view.byteLength) return undefined;
      bits |= view.getUint8(at++) << held;
      held += 8;
      left--;
    }
    const value = bits & ((1 << count) - 1);
    bits >>>= count;
    held -= count;
    return value;
  };
}

/**
 * How many of `wanted` pixels a frame's data spell, which begin at `start` with the bits of the smallest code: the lengths of the codes'
 * strings are added up (LZW). Decoders leave the rest of a frame black where its data end too soon, and do not say so.
 */
export function countGifPixels(view: DataView, start: number, wanted: number): number {
  const smallest = view.getUint8(start);
  if (smallest >= mostBits) return 0;
  const read = createBits(view, start + 1);
  const [clear, end] = [1 << smallest, (1 << smallest) + 1];
  const lengths = new Uint32Array(1 << mostBits).fill(1, 0, clear);
  let [next, bits, before] = [end + 1, smallest + 1, -1];
  let count = 0;
  while (count < wanted) {
    const code = read(bits);
    if (code === undefined || code === end) break;
    if (code === clear) {
      [next, bits, before] = [end + 1, smallest + 1, -1];
      continue;
    }
    // A string that is not there yet is the one before with its first pixel again; what is beyond is damage.
    if (code > next || (before < 0 && code > clear) || (code === next && next === lengths.length)) break;
    if (before >= 0 && next < lengths.length) {
      lengths[next] = lengths[before] + 1;
      next++;
      if (next === 1 << bits && bits < mostBits) bits++;
    }
    count += lengths[code];
    before = code;
  }
  return Math.min(count, wanted);
}
