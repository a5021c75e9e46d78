/** `varyclip serve` in a process of its own, for what measures it from outside. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface ServerProcess {
  readonly url: string;
  /** A figure of /metrics; the longest pause of the event loop is that since it was last asked for. */
  metric(name: string): Promise<number>;
  /** Ends it as a service manager does. Returns its exit code. */
  stop(): Promise<number | null>;
}

const pauseName = 'event_loop_delay_max_seconds';

/** Starts a server on a free port of this machine and waits until its models are loaded. */
export async function startServerProcess(args: readonly string[]): Promise<ServerProcess> {
  const program = fileURLToPath(new URL('../../bin/varyclip.js', import.meta.url));
  const child = spawn(process.execPath, [program, 'serve', '--port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const url = await Promise.race([
    new Promise<string>((resolve) => child.stdout.once('data', (line: Buffer) => resolve(String(line).trim()))),
    ended.then((code) => {
      throw new Error(`serve ${args.join(' ')}: ended with ${code}`);
    }),
  ]);
  let pause = 0;
  while ((await fetch(`${url}/health`)).status !== 200) await sleep(50);
  return {
    url,
    metric: async (name) => {
      // On a connection of its own: one that has rested may be closed at the moment it is asked.
      const text = await (await fetch(`${url}/metrics`, { headers: { connection: 'close' } })).text();
      const figure = (of: string) =>
        Number(new RegExp(`^varyclip_${of}(?:\\{.*\\})? (.*)$`, 'm').exec(text)?.[1] ?? Number.NaN);
      // The server forgets its longest pause whenever anything is asked of it.
      pause = Math.max(pause, figure(pauseName));
      if (name !== pauseName) return figure(name);
      const longest = pause;
      pause = 0;
      return longest;
    },
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}
