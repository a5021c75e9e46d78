import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../../test/fixtures/', import.meta.url);

/** The path of a file in test/fixtures; tests run from dist/test. */
export function fixturePath(name: string): string {
  return fileURLToPath(new URL(name, root));
}

/** A fixture's bytes; a missing fixture fails the test. */
export function fixtureBytes(name: string): Uint8Array {
  return readFileSync(fixturePath(name));
}

/** A JSON fixture. The caller states its type. */
export function fixtureJson<T>(name: string): T {
  return JSON.parse(readFileSync(fixturePath(name), 'utf8')) as T;
}
