/** float16 and bfloat16 to float32, exactly. Shapes: any; both arrays have the same length. */
const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);

/** The float32 value of one IEEE 754 half. */
export function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halfTable: Float32Array | undefined;

/** Every half in `words`, as float32. */
export function float16ToFloat32(words: Uint16Array, out: Float32Array = new Float32Array(words.length)): Float32Array {
  halfTable ??= Float32Array.from({ length: 65536 }, (_, half) => halfToFloat(half));
  for (let i = 0; i < words.length; i++) out[i] = halfTable[words[i]];
  return out;
}

/** Every bfloat16 in `words`, as float32: its bits are the upper half of the float32's. */
export function bfloat16ToFloat32(
  words: Uint16Array,
  out: Float32Array = new Float32Array(words.length),
): Float32Array {
  const outBits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < words.length; i++) outBits[i] = words[i] << 16;
  return out;
}

/** The nearest half, ties to even. */
export function floatToHalf(value: number): number {
  asFloat[0] = value;
  const word = bits[0];
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 0xff;
  const fraction = word & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction ? 0x200 : 0);
  const shifted = exponent - 112;
  if (shifted >= 31) return sign | 0x7c00;
  if (shifted <= 0) {
    if (shifted < -10) return sign;
    return sign | roundShift(fraction | 0x800000, 14 - shifted);
  }
  return sign + roundShift((shifted << 23) | fraction, 13);
}

/** The nearest bfloat16, ties to even. */
export function floatToBfloat16(value: number): number {
  asFloat[0] = value;
  const word = bits[0];
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return roundShift(word, 16);
}

/** x / 2^shift, rounded half to even. */
function roundShift(x: number, shift: number): number {
  const kept = Math.floor(x / 2 ** shift);
  const rest = x - kept * 2 ** shift;
  const half = 2 ** (shift - 1);
  return rest > half || (rest === half && kept % 2 === 1) ? kept + 1 : kept;
}
