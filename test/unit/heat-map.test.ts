import assert from 'node:assert/strict';
import { test } from 'node:test';
import { floats } from '../../src/core/tensor.js';
import { clipProcessorFrom, seenRegion } from '../../src/image/clip-processor.js';
import { drawHeatMap } from '../../src/image/heat-map.js';
import { filled, white } from '../../src/image/pixels.js';

const processor = clipProcessorFrom({ size: 20, crop_size: 20 });

test('the region a tower sees, in the image’s own pixels', () => {
  const region = (width: number, height: number, other = processor) =>
    seenRegion(filled({ width, height }, white), other);
  assert.deepEqual(region(60, 30), { left: 15, top: 0, width: 30, height: 30 });
  assert.deepEqual(region(10, 40), { left: 0, top: 15, width: 10, height: 10 });
  const stretched = clipProcessorFrom({ size: { width: 8, height: 8 }, do_center_crop: false });
  assert.deepEqual(region(60, 30, stretched), { left: 0, top: 0, width: 60, height: 30 });
  const padded = clipProcessorFrom({ size: 20, crop_size: 30 });
  assert.deepEqual(region(40, 40, padded), { left: -10, top: -10, width: 60, height: 60 });
});

test('a map is blue where it is low and red where it is high; outside it is dark', () => {
  const image = filled({ width: 60, height: 30 }, white);
  const region = seenRegion(image, processor);
  const map = floats([2, 2], [0.1, 0.1, 0.1, 0.3]);
  const { data } = drawHeatMap(image, map, region, { opacity: 1 });
  const at = (x: number, y: number) => [...data.subarray(3 * (y * 60 + x), 3 * (y * 60 + x) + 3)];
  assert.deepEqual(at(16, 1), [24, 28, 92]);
  assert.deepEqual(at(43, 28), [220, 30, 30]);
  assert.deepEqual(at(5, 15), [89, 89, 89]);
  assert.deepEqual(at(50, 15), [89, 89, 89]);
  const flat = drawHeatMap(image, floats([1, 1], [0.2]), region, { opacity: 1 });
  assert.deepEqual([...flat.data.subarray(3 * 30, 3 * 30 + 3)], [24, 28, 92]);
});
