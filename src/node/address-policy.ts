import { BlockList, isIPv4, isIPv6 } from 'node:net';

/** Special-purpose ranges of IPv4 (IANA registry): nothing there is a public server. */
const closedV4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
];

/** Of IPv6 only 2000::/3 is public, and not these in it: tunnels and documentation. */
const openV6: readonly [string, number] = ['2000::', 3];
const closedV6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
];

function listOf(ranges: readonly (readonly [string, number])[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const [start, bits] of ranges) list.addSubnet(start, bits, family);
  return list;
}

/** Whether an address is of the public internet: not of this machine, a private network, a tunnel or a reserved range. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !listOf(closedV4, 'ipv4').check(address, 'ipv4');
  if (!isIPv6(address) || address.includes('%')) return false;
  return listOf([openV6], 'ipv6').check(address, 'ipv6') && !listOf(closedV6, 'ipv6').check(address, 'ipv6');
}
