import type { Context } from 'hono';
import {
  AbortedError,
  DeadlineError,
  DownloadError,
  InputError,
  OverloadedError,
  ThreadEndedError,
  TimeLimitError,
  VaryclipError,
  WeightsError,
} from '../core/errors.js';

/** Something is wrong with a request apart from its contents: an answer of its own. */
export class HttpError extends VaryclipError {
  override name = 'HttpError';
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface ErrorAnswer {
  readonly status: number;
  readonly type: string;
  readonly code: string;
  readonly message: string;
  readonly retryAfter?: number;
}

const types: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
  503: 'unavailable_error',
  504: 'timeout_error',
};

/** What a client is told of an error: of ours the message, of others nothing. */
export function answerOf(error: unknown): ErrorAnswer {
  const answer = (status: number, code: string, message: string): ErrorAnswer => ({
    status,
    type: types[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error'),
    code,
    message,
    ...((status === 429 || status === 503) && { retryAfter: 1 }),
  });
  if (error instanceof HttpError) return answer(error.status, error.code, error.message);
  if (error instanceof OverloadedError) return answer(429, 'overloaded', error.message);
  if (error instanceof DeadlineError) return answer(504, 'deadline_exceeded', error.message);
  if (error instanceof DownloadError) return answer(400, 'image_unavailable', error.message);
  // A client that went away hears nothing of it.
  if (error instanceof AbortedError) return answer(499, 'client_closed_request', error.message);
  if (error instanceof TimeLimitError) return answer(422, 'took_too_long', error.message);
  if (error instanceof ThreadEndedError) return answer(500, 'thread_ended', error.message);
  if (error instanceof InputError && !(error instanceof WeightsError)) {
    return answer(400, 'invalid_request', error.message);
  }
  return answer(500, 'internal_error', 'the server failed; its log says why');
}

/** OpenAI's shape of errors. */
export const errorBody = ({
  message,
  type,
  code,
}: ErrorAnswer): { readonly error: Readonly<Record<string, unknown>> } => ({
  error: { message, type, param: null, code },
});

export function sendError(c: Context, answer: ErrorAnswer): Response {
  if (answer.retryAfter !== undefined) c.header('Retry-After', String(answer.retryAfter));
  if (answer.status === 401) c.header('WWW-Authenticate', 'Bearer');
  return c.json(errorBody(answer), answer.status as 400);
}
