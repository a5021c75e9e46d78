/** What every runtime does with the memory of carried tensors. */
import { bytesOf } from '../core/dtype.js';
import { sizeOf, type Tensor } from '../core/tensor.js';

/** Puts row `from[i]` in place of row i, in place. */
export function permuteRows(tensor: Tensor, from: readonly number[]): void {
  const data = bytesOf(tensor.data);
  const width = data.length / tensor.shape[0];
  const moved = from.map((row, i) => (row === i ? undefined : data.slice(row * width, (row + 1) * width)));
  moved.forEach((row, i) => {
    if (row) data.set(row, i * width);
  });
}

/** The common part of two tensors that differ in at most one axis: piece by piece what is to be written, and from where. */
export function* commonPieces(
  from: Tensor,
  to: Tensor,
): Generator<{ readonly target: Uint8Array; readonly source: Uint8Array }> {
  const axis = Math.max(
    0,
    from.shape.findIndex((extent, i) => extent !== to.shape[i]),
  );
  const outer = sizeOf(from.shape.slice(0, axis));
  const [source, target] = [bytesOf(from.data), bytesOf(to.data)];
  const [sourceWidth, targetWidth] = [source.length / outer, target.length / outer];
  const width = Math.min(sourceWidth, targetWidth);
  for (let i = 0; i < outer; i++) {
    yield {
      target: target.subarray(i * targetWidth, i * targetWidth + width),
      source: source.subarray(i * sourceWidth, i * sourceWidth + width),
    };
  }
}
