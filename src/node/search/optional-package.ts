import { RuntimeUnavailableError } from '../../core/errors.js';

/** A package that only some users need. Throws RuntimeUnavailableError that says how to get it. */
export async function importOptional<T>(name: string, install: string, what: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    throw new RuntimeUnavailableError(
      `${what} needs the package ${name}, which does not load; run: npm install ${install}`,
      {
        cause,
      },
    );
  }
}
