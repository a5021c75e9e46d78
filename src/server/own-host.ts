/**
 * Without a key, a server is open to whoever reaches it. On loopback that is this machine, which has a browser, and in it the pages of
 * others: one may give its own name this machine's address (DNS rebinding), another may post a form or a text to it.
 */
import { BlockList, isIP } from 'node:net';
import type { Context } from 'hono';
import { InputError } from '../core/errors.js';
import { HttpError } from './answers.js';
import type { ServerState } from './state.js';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether an address is this machine's own, which no other one reaches. */
export const isLoopback = (address: string): boolean =>
  isIP(address) !== 0 && loopback.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Throws InputError for an empty host, all that is left of a variable that is not set: Node would listen on all addresses. */
export function expectHost(host: string, name: string): void {
  if (host.trim() !== '') return;
  throw new InputError(
    `${name}: expected an address to listen on, got an empty text; 127.0.0.1 is for this machine alone, 0.0.0.0 for all`,
  );
}

/** Throws HttpError 403 where a server that listens without a key is asked by another name, or by the page of another host. */
export function expectOwnHost(c: Context, { apiKey, place }: ServerState): void {
  if (apiKey !== undefined || place === undefined) return;
  const host = c.req.header('host');
  if (place.onLoopback && host && !isOwnName(host, place.host)) {
    throw new HttpError(
      403,
      'host_not_allowed',
      `this server answers as localhost, not as ${host.slice(0, 100)}: ask for localhost, or start it with an API key`,
    );
  }
  const origin = c.req.header('origin');
  // Browsers say this, and no page can: a proxy may have changed the host.
  if (origin === undefined || c.req.header('sec-fetch-site') === 'same-origin') return;
  if (host && isSameHost(origin, host)) return;
  throw new HttpError(
    403,
    'origin_not_allowed',
    `a page of ${origin.slice(0, 100)} cannot ask this server, only its own page can; start it with an API key`,
  );
}

function isOwnName(host: string, given: string): boolean {
  const name = nameIn(host);
  if (name === undefined) return false;
  return name === 'localhost' || name.endsWith('.localhost') || isLoopback(name) || name === nameIn(bracketed(given));
}

/** An address of IPv6 as URLs have it. */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** The name in a Host header, in small letters and without a port, brackets and a dot at its end. */
function nameIn(host: string): string | undefined {
  if (!URL.canParse(`http://${host}`)) return undefined;
  return new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
}

/** Ports count; that of the scheme need not be said. */
function isSameHost(origin: string, host: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host: own } = new URL(origin);
  return URL.canParse(`${protocol}//${host}`) && new URL(`${protocol}//${host}`).host === own && own !== '';
}
