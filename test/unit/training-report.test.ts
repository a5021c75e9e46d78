import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lineChart, logarithmicTicks, shortNumber, thinned, ticks } from '../../src/output/svg-chart.js';
import { trainingReport } from '../../src/output/training-report.js';

test('ticks are round numbers within the range', () => {
  assert.deepEqual(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(
    ticks(0.13, 0.29, 4).map((x) => x.toFixed(2)),
    ['0.15', '0.20', '0.25'],
  );
  assert.deepEqual(ticks(3, 3, 4), [3]);
});

test('logarithmic ticks', () => {
  const values = (low: number, high: number) =>
    logarithmicTicks(low, high).map((y) => Number((10 ** y).toPrecision(6)));
  assert.deepEqual(values(-0.5, 1), [0.5, 1, 2, 5, 10]);
  assert.deepEqual(values(-2, 2.1), [0.01, 0.1, 1, 10, 100]);
  assert.deepEqual(values(0.4, 0.93), [4, 6, 8]);
  assert.deepEqual(values(0.4, 0.41), [2.52, 2.54, 2.56]);
});

test('numbers as an axis shows them', () => {
  assert.deepEqual([0, 0.25, 3.26159, 12345, 2.5e6, 4e-5].map(shortNumber), [
    '0',
    '0.25',
    '3.26',
    '12.3 k',
    '2.5 M',
    '4e-5',
  ]);
});

test('long series are averaged, short ones are as they are', () => {
  const points = Array.from({ length: 1000 }, (_, i) => [i, i % 2] as const);
  const fewer = thinned(points, 100);
  assert.equal(fewer.length, 100);
  assert.deepEqual(fewer[0], [4.5, 0.5]);
  assert.equal(thinned(points, 1000), points);
});

test('a chart has a point for every value, the highest at the top, and survives values that are none', () => {
  const chart = lineChart(
    [
      {
        name: 'loss',
        points: [
          [1, 4],
          [2, Number.NaN],
          [3, 1],
        ],
      },
    ],
    { title: 'a < b' },
  );
  const [[, first, second]] = [...chart.matchAll(/points="([\d.]+,[\d.]+) ([\d.]+,[\d.]+)"/g)];
  const [[x1, y1], [x2, y2]] = [first, second].map((point) => point.split(',').map(Number));
  assert.ok(x1 < x2 && y1 < y2);
  assert.match(chart, /a &lt; b/);
  assert.match(lineChart([{ name: 'loss', points: [[1, 4]] }], { title: 't' }), /<circle/);
  assert.match(lineChart([{ name: 'loss', points: [] }], { title: 't' }), /nothing yet/);
  assert.ok(
    !lineChart(
      [
        {
          name: 'x',
          points: [
            [1, 0],
            [2, 10],
            [3, 100],
          ],
        },
      ],
      { title: 't', logarithmic: true },
    ).includes('NaN'),
  );
});

test('readings of the last three evaluations, newest first, escaped', () => {
  const entries = [1, 2, 3, 4].map((step) => ({
    step,
    cer: 1 / step,
    samples: [{ truth: `<${step}>`, read: 'x & y' }],
  }));
  const page = trainingReport([{ step: 1, loss: 2, smooth: 2, learningRate: 0.1, gradNorm: 3 }, ...entries], {
    title: 'run',
  });
  assert.deepEqual(
    [...page.matchAll(/<td>(\d)<\/td><td>&lt;(\d)&gt;<\/td><td>x &amp; y<\/td>/g)].map(([, step]) => step),
    ['4', '3', '2'],
  );
  assert.match(page, /held-out character errors by characters/);
  assert.match(page, /step <b>1<\/b>/);
});
