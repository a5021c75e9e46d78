// What many pages take, from one measured figure: node scripts/reading-cost.js --seconds S [--cores 2] [--pages 100e6] [--price 0.01]
// S is what a page takes on that many cores, 1 / (pages a second) of `node dist/bench/bulk.js --only rate`. Prints a Markdown table.
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    cores: { type: 'string', default: '2' },
    pages: { type: 'string', default: '100e6' },
    price: { type: 'string', default: '0.01' },
  },
});
const numbers = Object.fromEntries(Object.entries(values).map(([name, text]) => [name, Number(text)]));
const { seconds, cores, pages, price } = numbers;
if (!(seconds > 0 && cores > 0 && pages > 0 && price >= 0)) {
  console.error('usage: node scripts/reading-cost.js --seconds S [--cores N] [--pages N] [--price PER_CORE_HOUR]');
  process.exit(2);
}
const count = (value) => Number(value.toPrecision(3)).toLocaleString('en');
const coreHours = (pages * seconds * cores) / 3600;
console.log(`${count(pages)} pages · ${seconds} s · ${cores} cores / 3,600 = ${count(coreHours)} core hours`);
console.log(`${count(coreHours)} core hours · ${price} = ${count(coreHours * price)}\n`);
console.log(`| done in | processes of ${cores} cores | machines of 64 cores |\n|---|---|---|`);
for (const days of [1, 7, 30]) {
  const processes = Math.ceil((pages * seconds) / (86400 * days));
  const machines = Math.ceil((processes * cores) / 64);
  console.log(`| ${days} day${days > 1 ? 's' : ''} | ${count(processes)} | ${count(machines)} |`);
}
