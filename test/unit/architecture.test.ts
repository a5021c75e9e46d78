import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const src = fileURLToPath(new URL('../../../src/', import.meta.url));

/** Folders in processing order. A folder imports itself and lower ranks only. Files directly in src are the barrels. */
const ranks: Record<string, number> = {
  core: 0,
  graph: 1,
  image: 1,
  text: 1,
  weights: 1,
  nn: 2,
  grad: 2,
  onnx: 2,
  data: 2,
  models: 3,
  runtime: 3,
  infer: 4,
  train: 4,
  search: 4,
  output: 4,
  node: 5,
  web: 5,
  '.': 6,
  server: 7,
  page: 7,
  cli: 8,
};

/** Generated code, and nothing else. */
const mayBeLong = new Set(['onnx/onnx_pb.ts']);
const maxFileLines = 600;
const maxFunctionLines = 80;

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const folderOf = (name: string) => (name.includes('/') ? name.slice(0, name.indexOf('/')) : '.');

function importsOf(name: string): string[] {
  const text = readFileSync(join(src, name), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g)].map((match) =>
    relative(src, resolve(src, dirname(name), match[1])).replace(/\.js$/, '.ts'),
  );
}

test('every folder has a rank and imports only itself and lower ranks', () => {
  const wrong = files.flatMap((name) => {
    const from = folderOf(name);
    assert.ok(from in ranks, `${name}: folder ${from} has no rank`);
    return importsOf(name)
      .filter((target) => folderOf(target) !== from && !(ranks[folderOf(target)] < ranks[from]))
      .map((target) => `${name} (rank ${ranks[from]}) imports ${target} (rank ${ranks[folderOf(target)]})`);
  });
  assert.deepEqual(wrong, []);
});

test('there are no import cycles, type imports included', () => {
  const done = new Set<string>();
  const visit = (name: string, path: string[]): void => {
    assert.ok(!path.includes(name), `cycle: ${[...path.slice(path.indexOf(name)), name].join(' -> ')}`);
    if (done.has(name)) return;
    for (const target of importsOf(name)) visit(target, [...path, name]);
    done.add(name);
  };
  for (const name of files.filter((file) => !file.endsWith('.d.ts'))) visit(name, []);
});

test(`no file is longer than ${maxFileLines} lines, no function than ${maxFunctionLines}`, () => {
  const wrong: string[] = [];
  for (const name of files.filter((file) => !mayBeLong.has(file))) {
    const lines = readFileSync(join(src, name), 'utf8').split('\n');
    if (lines.length - 1 > maxFileLines) wrong.push(`${name}: ${lines.length - 1} lines`);
    // A top-level function ends at the first line that closes at its own indentation.
    lines.forEach((line, start) => {
      if (!/^(export )?(async )?function /.test(line)) return;
      const length = lines.slice(start).indexOf('}') + 1;
      if (length > maxFunctionLines) wrong.push(`${name}:${start + 1}: ${line.trim()} has ${length} lines`);
    });
  }
  assert.deepEqual(wrong, []);
});
