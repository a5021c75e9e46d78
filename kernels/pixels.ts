// Loops over the pixels of a page, in AssemblyScript: `npm run kernels` compiles them into src/image/kernels-wasm.ts. Addresses are
// bytes of the module's memory; of what is behind an argument up to 32 bytes may be read, and up to 16 behind a result overwritten. They
// keep nothing between calls.

/** ITU-R 601 luma of `count` pixels of three bytes, as Pillow's convert('L'). */
export function grayOfRgb(rgb: usize, gray: usize, count: i32): void {
  const zero = i8x16.splat(0);
  const red = i32x4.splat(19595);
  const green = i32x4.splat(38470);
  const blue = i32x4.splat(7471);
  const half = i32x4.splat(0x8000);
  for (let i = 0; i < count; i += 4) {
    // Four pixels are twelve bytes.
    const bytes = v128.load(rgb + 3 * i);
    const r = i8x16.shuffle(bytes, zero, 0, 16, 16, 16, 3, 16, 16, 16, 6, 16, 16, 16, 9, 16, 16, 16);
    const g = i8x16.shuffle(bytes, zero, 1, 16, 16, 16, 4, 16, 16, 16, 7, 16, 16, 16, 10, 16, 16, 16);
    const b = i8x16.shuffle(bytes, zero, 2, 16, 16, 16, 5, 16, 16, 16, 8, 16, 16, 16, 11, 16, 16, 16);
    const sum = i32x4.add(i32x4.add(i32x4.mul(r, red), i32x4.mul(g, green)), i32x4.add(i32x4.mul(b, blue), half));
    const level = i32x4.shr_u(sum, 16);
    v128.store32_lane(gray + i, i8x16.shuffle(level, level, 0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function count(bins: usize, level: usize): void {
  const at = bins + (level << 2);
  store<u32>(at, load<u32>(at) + 1);
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function countFour(bins: usize, levels: u32): void {
  count(bins, levels & 255);
  count(bins + 1024, (levels >> 8) & 255);
  count(bins + 2048, (levels >> 16) & 255);
  count(bins + 3072, levels >> 24);
}

/**
 * Counts every `step`th of `length` levels in four tables of 256 uint32, whose sum is the histogram: neighbours are often equal, and a
 * place that was just written cannot be read at once.
 */
export function histogram(levels: usize, length: i32, step: i32, bins: usize): void {
  const end = levels + length;
  let at = levels;
  if (step == 1) {
    let zeros: u32 = 0;
    for (; at + 16 <= end; at += 16) {
      const sixteen = v128.load(at);
      // As most of a page is once its paper has been taken away.
      if (!v128.any_true(sixteen)) {
        zeros += 16;
        continue;
      }
      countFour(bins, i32x4.extract_lane(sixteen, 0));
      countFour(bins, i32x4.extract_lane(sixteen, 1));
      countFour(bins, i32x4.extract_lane(sixteen, 2));
      countFour(bins, i32x4.extract_lane(sixteen, 3));
    }
    store<u32>(bins, load<u32>(bins) + zeros);
  }
  for (; at + 3 * step < end; at += 4 * step) {
    count(bins, load<u8>(at));
    count(bins + 1024, load<u8>(at + step));
    count(bins + 2048, load<u8>(at + 2 * step));
    count(bins + 3072, load<u8>(at + 3 * step));
  }
  for (; at < end; at += step) count(bins, load<u8>(at));
}

/** Levels become how much darker they are than paper, or 0: `paper` of the first is in parts of 2^16 and rises by `step` a pixel. */
export function darken(levels: usize, length: i32, paper: i32, step: i32): void {
  let four = i32x4.add(i32x4.splat(paper), i32x4.mul(i32x4.splat(step), i32x4(0, 1, 2, 3)));
  const further = i32x4.splat(4 * step);
  let i = 0;
  for (; i + 16 <= length; i += 16) {
    const a = i32x4.shr_s(four, 16);
    four = i32x4.add(four, further);
    const b = i32x4.shr_s(four, 16);
    four = i32x4.add(four, further);
    const c = i32x4.shr_s(four, 16);
    four = i32x4.add(four, further);
    const d = i32x4.shr_s(four, 16);
    four = i32x4.add(four, further);
    const papers = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
    v128.store(levels + i, i8x16.sub_sat_u(papers, v128.load(levels + i)));
  }
  for (; i < length; i++) {
    const difference = ((paper + i * step) >> 16) - <i32>load<u8>(levels + i);
    store<u8>(levels + i, difference < 0 ? 0 : difference);
  }
}

/** Levels above `limit` become 1, others 0. */
export function cutAt(levels: usize, length: i32, limit: i32): void {
  const limits = i8x16.splat(<i8>limit);
  const one = i8x16.splat(1);
  let i = 0;
  for (; i + 16 <= length; i += 16) {
    v128.store(levels + i, v128.and(i8x16.gt_u(v128.load(levels + i), limits), one));
  }
  for (; i < length; i++) store<u8>(levels + i, <i32>load<u8>(levels + i) > limit ? 1 : 0);
}

/**
 * Where stretches of ones begin and where they have ended, row by row, as int32 from `first` on for the first of `rows` rows. Returns how
 * many: at most width + 1 a row.
 */
export function findRuns(mask: usize, width: i32, rows: i32, first: i32, runs: usize): i32 {
  let out = runs;
  for (let y = 0; y < rows; y++, mask += width, first += width) {
    let inside: u32 = 0;
    let x = 0;
    for (; x + 16 <= width; x += 16) {
      const bits: u32 = i8x16.bitmask(i8x16.ne(v128.load(mask + x), i8x16.splat(0)));
      let changes = (bits ^ ((bits << 1) | inside)) & 0xffff;
      inside = bits >> 15;
      for (; changes; changes &= changes - 1, out += 4) store<i32>(out, first + x + ctz(changes));
    }
    for (; x < width; x++) {
      const bit: u32 = load<u8>(mask + x);
      if (bit == inside) continue;
      store<i32>(out, first + x);
      out += 4;
      inside = bit;
    }
    if (inside) {
      store<i32>(out, first + width);
      out += 4;
    }
  }
  return <i32>((out - runs) >> 2);
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function fourOf<T>(at: usize): v128 {
  if (sizeof<T>() == 4) return v128.load(at);
  return f32x4.convert_i32x4_u(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at))));
}

/** `row` becomes the sum of neighbouring rows of `width` samples by `taps` weights. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function mixRows<T>(rows: usize, width: i32, weights: usize, taps: i32, row: usize): void {
  const pitch = width * sizeof<T>();
  // Rows without weight may lie past the end.
  while (taps > 1 && load<f32>(weights + ((taps - 1) << 2)) == 0) taps--;
  for (let x = 0; x < width; x += 4) {
    let at = rows + x * sizeof<T>();
    let sum = f32x4.mul(fourOf<T>(at), v128.load32_splat(weights));
    for (let k = 1; k < taps; k++) {
      at += pitch;
      sum = f32x4.add(sum, f32x4.mul(fourOf<T>(at), v128.load32_splat(weights + (k << 2))));
    }
    v128.store(row + (x << 2), sum);
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function productOf(row: usize, weights: usize, taps: i32): v128 {
  let sum = f32x4.mul(v128.load(row), v128.load(weights));
  for (let k = 16; k < taps << 2; k += 16) sum = f32x4.add(sum, f32x4.mul(v128.load(row + k), v128.load(weights + k)));
  return sum;
}

/** Each of `length` samples is the sum of neighbours in `row`, from its start on, by its `taps` weights (a multiple of four). */
// @ts-ignore: a decorator of AssemblyScript
@inline
function mixColumns(row: usize, starts: usize, weights: usize, taps: i32, out: usize, length: i32): void {
  const pitch = taps << 2;
  for (let i = 0; i < length; i += 4, starts += 16, weights += 4 * pitch) {
    const a = productOf(row + (load<i32>(starts) << 2), weights, taps);
    const b = productOf(row + (load<i32>(starts + 4) << 2), weights + pitch, taps);
    const c = productOf(row + (load<i32>(starts + 8) << 2), weights + 2 * pitch, taps);
    const d = productOf(row + (load<i32>(starts + 12) << 2), weights + 3 * pitch, taps);
    // Sums of four lanes each, side by side.
    const ab = f32x4.add(i32x4.shuffle(a, b, 0, 4, 1, 5), i32x4.shuffle(a, b, 2, 6, 3, 7));
    const cd = f32x4.add(i32x4.shuffle(c, d, 0, 4, 1, 5), i32x4.shuffle(c, d, 2, 6, 3, 7));
    v128.store(out + (i << 2), f32x4.add(i32x4.shuffle(ab, cd, 0, 1, 4, 5), i32x4.shuffle(ab, cd, 2, 3, 6, 7)));
  }
}

/**
 * Where each of an axis' samples comes from, and by which weights: int32 [length], float32 [length, taps], up to the next fourth. Four int32 in
 * this order.
 */
@unmanaged
class Axis {
  starts: usize;
  weights: usize;
  taps: i32;
  length: i32;
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function resize<T>(plane: usize, width: i32, y: Axis, x: Axis, row: usize, out: usize): void {
  const pitch = width * sizeof<T>();
  for (let i = 0; i < y.length; i++, out += x.length << 2) {
    const start = load<i32>(y.starts + (i << 2));
    mixRows<T>(plane + start * pitch, width, y.weights + ((i * y.taps) << 2), y.taps, row);
    // Taps without weight reach past the row's end, where anything but zeros might be no number.
    memory.fill(row + (width << 2), 0, x.taps << 2);
    mixColumns(row, x.starts, x.weights, x.taps, out, x.length);
  }
}

/** Resizes a plane of bytes by an axis' weights each into float32 [y.length, x.length]; `row` holds width + x.taps samples and three more. */
export function resizeBytes(plane: usize, width: i32, y: Axis, x: Axis, row: usize, out: usize): void {
  resize<u8>(plane, width, y, x, row, out);
}

/** The same of a plane of float32. */
export function resizeFloats(plane: usize, width: i32, y: Axis, x: Axis, row: usize, out: usize): void {
  resize<f32>(plane, width, y, x, row, out);
}

/** Rounds float32 to bytes, cut at 0 and 255. */
export function roundToBytes(plane: usize, length: i32, bytes: usize): void {
  const half = f32x4.splat(0.5);
  for (let i = 0; i < length; i += 8, plane += 32) {
    const a = i32x4.trunc_sat_f32x4_s(f32x4.add(v128.load(plane), half));
    const b = i32x4.trunc_sat_f32x4_s(f32x4.add(v128.load(plane, 16), half));
    const words = i16x8.narrow_i32x4_s(a, b);
    v128.store64_lane(bytes + i, i8x16.narrow_i16x8_u(words, words), 0);
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function project(x: usize, y: usize, i: i32, slope: f64, reach: f64, bins: usize): void {
  const at = <f64>load<f32>(y + (i << 2)) - <f64>load<f32>(x + (i << 2)) * slope + reach;
  const whole = <i32>at;
  const rest = <f32>(at - <f64>whole);
  const bin = bins + (whole << 2);
  store<f32>(bin, load<f32>(bin) + (1 - rest));
  store<f32>(bin, load<f32>(bin, 4) + rest, 4);
}

/**
 * How sharp the peaks are of every `stride`th of `points` points' projection (float32 x, y) along a slope: each is shared by two of
 * `length` bins (float32), which begin `reach` above the page.
 */
export function sharpness(
  x: usize,
  y: usize,
  points: i32,
  stride: i32,
  slope: f64,
  reach: f64,
  bins: usize,
  length: i32,
): f64 {
  memory.fill(bins, 0, length << 2);
  // Neighbours fall into the same bin, which would have to be written before it is read again: the points' quarters take turns.
  const quarter = (points / (4 * stride)) * stride;
  let i = 0;
  for (; i < quarter; i += stride) {
    project(x, y, i, slope, reach, bins);
    project(x, y, i + quarter, slope, reach, bins);
    project(x, y, i + 2 * quarter, slope, reach, bins);
    project(x, y, i + 3 * quarter, slope, reach, bins);
  }
  for (i = 4 * quarter; i < points; i += stride) project(x, y, i, slope, reach, bins);
  let sum: f64 = 0;
  let before = <f64>load<f32>(bins);
  for (let i = 1; i < length; i++) {
    const bin = <f64>load<f32>(bins + (i << 2));
    const both = bin + before;
    sum += both * both;
    before = bin;
  }
  return sum;
}

/** Turns levels by an angle about their middle, in their own size; `out` keeps what comes in from outside. */
export function straighten(levels: usize, width: i32, height: i32, sin: f64, cos: f64, out: usize): void {
  const middleX = <f64>width / 2;
  const middleY = <f64>height / 2;
  // Places in parts of 2^32 of a pixel.
  const unit: f64 = 4294967296;
  const stepX = <i64>(cos * unit);
  const stepY = <i64>(sin * unit);
  for (let y = 0; y < height; y++) {
    const dx = 0.5 - middleX;
    const dy = <f64>y + 0.5 - middleY;
    let placeX = <i64>((dx * cos - dy * sin + middleX - 0.5) * unit);
    let placeY = <i64>((dx * sin + dy * cos + middleY - 0.5) * unit);
    for (let x = 0; x < width; x++, out++, placeX += stepX, placeY += stepY) {
      const left = <i32>(placeX >> 32);
      const top = <i32>(placeY >> 32);
      // A negative one is a large one without its sign.
      if (<u32>left >= <u32>(width - 1) || <u32>top >= <u32>(height - 1)) continue;
      const at = levels + top * width + left;
      // Levels in parts of 2^22 between columns, and of 2^44 between rows.
      const right = <i32>(placeX >> 10) & 0x3fffff;
      const upperLeft = <i32>load<u8>(at);
      const upper = (upperLeft << 22) + (<i32>load<u8>(at, 1) - upperLeft) * right;
      const lowerLeft = <i32>load<u8>(at + width);
      const lower = (lowerLeft << 22) + (<i32>load<u8>(at + width, 1) - lowerLeft) * right;
      const level = (<i64>upper << 22) + <i64>(lower - upper) * ((placeY >> 10) & 0x3fffff);
      store<u8>(out, <u8>((level + (<i64>1 << 43)) >> 44));
    }
  }
}

/** Sums of 8-bit samples by weights in parts of 2^22, rounded and cut to bytes. */
const weightBits = 22;

/**
 * A row of pixels of three bytes becomes one of `length`: each the sum of `taps` neighbours from its start on (int32), by its weights
 * (int32 [length, taps], those past the row's end 0).
 */
export function weighPixels(row: usize, starts: usize, weights: usize, taps: i32, length: i32, out: usize): void {
  for (let i = 0; i < length; i++, starts += 4, out += 3) {
    let at = row + 3 * load<i32>(starts);
    let sum = i32x4.splat(1 << (weightBits - 1));
    for (let k = 0; k < taps; k++, weights += 4, at += 3) {
      const pixel = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at)));
      sum = i32x4.add(sum, i32x4.mul(pixel, v128.load32_splat(weights)));
    }
    const words = i16x8.narrow_i32x4_s(i32x4.shr_s(sum, weightBits), sum);
    v128.store32_lane(out, i8x16.narrow_i16x8_u(words, words), 0);
  }
}

/** Each of `length` bytes is the sum of those below each other in `taps` rows, by their weights. */
export function weighRows(rows: usize, length: i32, weights: usize, taps: i32, out: usize): void {
  for (let i = 0; i < length; i += 16) {
    let a = i32x4.splat(1 << (weightBits - 1));
    let b = a;
    let c = a;
    let d = a;
    let at = rows + i;
    for (let k = 0; k < taps; k++, at += length) {
      const weight = v128.load32_splat(weights + (k << 2));
      const bytes = v128.load(at);
      const low = i16x8.extend_low_i8x16_u(bytes);
      const high = i16x8.extend_high_i8x16_u(bytes);
      a = i32x4.add(a, i32x4.mul(i32x4.extend_low_i16x8_u(low), weight));
      b = i32x4.add(b, i32x4.mul(i32x4.extend_high_i16x8_u(low), weight));
      c = i32x4.add(c, i32x4.mul(i32x4.extend_low_i16x8_u(high), weight));
      d = i32x4.add(d, i32x4.mul(i32x4.extend_high_i16x8_u(high), weight));
    }
    const low = i16x8.narrow_i32x4_s(i32x4.shr_s(a, weightBits), i32x4.shr_s(b, weightBits));
    const high = i16x8.narrow_i32x4_s(i32x4.shr_s(c, weightBits), i32x4.shr_s(d, weightBits));
    v128.store(out + i, i8x16.narrow_i16x8_u(low, high));
  }
}

/** Four bytes as the lower lanes of eight words. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function wordsAt(at: usize): v128 {
  return i16x8.extend_low_i8x16_u(v128.load32_zero(at));
}

/** For each lane the neighbour that is nearest to left + above - corner; of equals the first in this order. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function paeth(left: v128, above: v128, corner: v128): v128 {
  const toAbove = i16x8.sub(above, corner);
  const toLeft = i16x8.sub(left, corner);
  const fromLeft = i16x8.abs(toAbove);
  const fromAbove = i16x8.abs(toLeft);
  const fromCorner = i16x8.abs(i16x8.add(toAbove, toLeft));
  const second = v128.bitselect(above, corner, i16x8.le_s(fromAbove, fromCorner));
  return v128.bitselect(left, second, i16x8.le_s(fromLeft, i16x8.min_s(fromAbove, fromCorner)));
}

/** Pixels of three or four bytes: what is left of the first is 0, and so is what is left of what is above it. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function unfilterPixels(filter: i32, row: usize, above: usize, end: usize, pixelBytes: i32): void {
  const low = i16x8.splat(255);
  let left = i16x8.splat(0);
  let corner = left;
  for (; row < end; row += pixelBytes, above += pixelBytes) {
    const up = wordsAt(above);
    let guess = left;
    if (filter == 3) guess = i16x8.shr_u(i16x8.add(left, up), 1);
    else if (filter == 4) guess = paeth(left, up, corner);
    left = v128.and(i16x8.add(wordsAt(row), guess), low);
    corner = up;
    const bytes = i8x16.narrow_i16x8_u(left, left);
    if (pixelBytes == 4) v128.store32_lane(row, bytes, 0);
    else {
      v128.store16_lane(row, bytes, 0);
      v128.store8_lane(row, bytes, 2, 2);
    }
  }
}

/** Pixels of one or two bytes. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function unfilterBytes(filter: i32, row: usize, above: usize, end: usize, pixelBytes: i32): void {
  const first = row + pixelBytes;
  for (; row < end; row++, above++) {
    const left: i32 = row < first ? 0 : load<u8>(row - pixelBytes);
    const corner: i32 = row < first ? 0 : load<u8>(above - pixelBytes);
    const up: i32 = load<u8>(above);
    let guess = left;
    if (filter == 3) guess = (left + up) >> 1;
    else if (filter == 4) {
      const fromLeft = abs(up - corner);
      const fromAbove = abs(left - corner);
      const fromCorner = abs(left + up - 2 * corner);
      if (fromLeft > fromAbove || fromLeft > fromCorner) guess = fromAbove <= fromCorner ? up : corner;
    }
    store<u8>(row, load<u8>(row) + guess);
  }
}

/**
 * Undoes a PNG's filters of all rows, each of which begins with its filter's number, in place. As many bytes as a row has stand before the
 * first, all 0. Returns 0 where a number means nothing, else 1.
 */
export function unfilter(rows: usize, height: i32, rowBytes: i32, pixelBytes: i32): i32 {
  for (let y = 0; y < height; y++, rows += rowBytes + 1) {
    const filter: i32 = load<u8>(rows);
    const row = rows + 1;
    const above = rows - rowBytes;
    const end = row + rowBytes;
    if (filter > 4) return 0;
    if (filter == 0) continue;
    if (filter == 2) {
      let at: usize = 0;
      const length = <usize>rowBytes;
      for (; at + 16 <= length; at += 16) v128.store(row + at, i8x16.add(v128.load(row + at), v128.load(above + at)));
      for (; at < length; at++) store<u8>(row + at, load<u8>(row + at) + load<u8>(above + at));
    } else if (pixelBytes == 4) unfilterPixels(filter, row, above, end, 4);
    else if (pixelBytes == 3) unfilterPixels(filter, row, above, end, 3);
    else unfilterBytes(filter, row, above, end, pixelBytes);
  }
  return 1;
}

/** Rows of pixels of two to four samples, each row with a byte before it, as pixels of three: gray is all of them, alpha is dropped. */
export function toRgb(rows: usize, width: i32, height: i32, samples: i32, out: usize): void {
  for (let y = 0; y < height; y++, rows += width * samples + 1, out += 3 * width) {
    let at = rows + 1;
    if (samples == 3) {
      memory.copy(out, at, 3 * width);
      continue;
    }
    let to = out;
    const end = out + 3 * width;
    if (samples == 4) {
      // Four pixels at a time; what is too much is the next row's, or behind the last.
      for (; to < end; to += 12, at += 16) {
        const four = v128.load(at);
        v128.store(to, i8x16.shuffle(four, four, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0, 0, 0, 0));
      }
      continue;
    }
    for (; to < end; to += 3, at += samples) {
      const level = load<u8>(at);
      store<u8>(to, level);
      store<u8>(to, level, 1);
      store<u8>(to, level, 2);
    }
  }
}
