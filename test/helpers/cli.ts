import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Streams } from '../../src/cli/command.js';
import { runCommandLine } from '../../src/cli/run.js';

export interface CliResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process, as a pipe sees it. */
export async function runCli(args: readonly string[], changes: Partial<Streams> = {}): Promise<CliResult> {
  const [out, err] = [[] as string[], [] as string[]];
  const streams: Streams = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    isTerminal: false,
    signal: new AbortController().signal,
    readStdin: async () => new Uint8Array(),
    workForFiles: () => undefined,
    ...changes,
  };
  const code = await runCommandLine(args, streams);
  return { code, out: out.join(''), err: err.join('') };
}

/** The program. */
export const binPath = fileURLToPath(new URL('../../../bin/varyclip.js', import.meta.url));

/** The program itself, in a process of its own. */
export function startCli(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [binPath, ...args], { env: { ...process.env, ...environment } });
  const [out, err] = [[] as Buffer[], [] as Buffer[]];
  child.stdout.on('data', (chunk: Buffer) => void out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => void err.push(chunk));
  const text = (chunks: readonly Buffer[]) => Buffer.concat(chunks).toString();
  const done = new Promise<CliResult>((resolve) =>
    child.on('close', (code) => resolve({ code, out: text(out), err: text(err) })),
  );
  return { child, done };
}

export const examplePath = (name: string): string =>
  fileURLToPath(new URL(`../../../examples/${name}`, import.meta.url));
