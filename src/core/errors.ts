/** Every error this package throws on purpose. Messages say where, what was expected, what came, and what to do. */
export class VaryclipError extends Error {
  override name = 'VaryclipError';
}

/** The caller's input is wrong (file, option, prompt, image): exit code 2, HTTP 4xx. */
export class InputError extends VaryclipError {
  override name = 'InputError';
}

/** A checkpoint is missing, broken, hostile, or of another shape than the model. */
export class WeightsError extends InputError {
  override name = 'WeightsError';
}

/** Another process has what was to be changed. */
export class LockedError extends InputError {
  override name = 'LockedError';
}

/** Work on an input took longer than it may. */
export class TimeLimitError extends InputError {
  override name = 'TimeLimitError';
}

/** The thread that worked on an input ended, whatever the input did to it. */
export class ThreadEndedError extends InputError {
  override name = 'ThreadEndedError';
}

/** An operation was given shapes or dtypes it cannot take; raised while a graph is built. */
export class ShapeError extends VaryclipError {
  override name = 'ShapeError';
}

/** A device or library that was asked for is not there; there is no silent fallback. */
export class RuntimeUnavailableError extends VaryclipError {
  override name = 'RuntimeUnavailableError';
}

/** A download failed for a reason that is not in the request: the network, the server, or damaged data. */
export class DownloadError extends VaryclipError {
  override name = 'DownloadError';
}

/** The caller's AbortSignal fired. */
export class AbortedError extends VaryclipError {
  override name = 'AbortedError';
}

/** More work is waiting than may wait. */
export class OverloadedError extends VaryclipError {
  override name = 'OverloadedError';
}

/** The time that a request was given is over. */
export class DeadlineError extends VaryclipError {
  override name = 'DeadlineError';
}

/** The message of anything that can be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
