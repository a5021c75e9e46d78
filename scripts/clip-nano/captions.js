// What a concept is called: names, keywords, its main colour, in simple phrases.

const phrases = [
  'a picture of a {}',
  'a picture of {}',
  'a drawing of a {}',
  'an icon of a {}',
  'a photo of a {}',
  'an emoji of {}',
  '{} emoji',
  'a small {}',
  'the {}',
  'this is a {}',
];
const colourNames = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'brown', 'black', 'white', 'gray'];

/** Captions of one concept; commoner ones are there more than once. */
export function captionsOf({ names, keywords, colour, rng }) {
  const pick = (list) => list[rng.integer(0, list.length)];
  const words = keywords.filter((word) => /\p{L}/u.test(word) && !names.includes(word));
  const captions = [];
  for (const name of names) {
    captions.push(name, name, name);
    for (let i = 0; i < 6; i++) captions.push(pick(phrases).replace('{}', name));
  }
  const count = captions.length;
  if (words.length > 0) {
    for (let i = 0; i < count / 3; i++) captions.push(`${pick(names)}, ${pick(words)}`, several(words, rng));
    for (let i = 0; i < count / 6; i++) captions.push(pick(phrases).replace('{}', pick(words)));
  }
  if (colour) {
    const uncoloured = [...names, ...words].filter((word) => !colourNames.some((name) => word.includes(name)));
    for (let i = 0; i < count / 4 && uncoloured.length > 0; i++) captions.push(`${colour} ${pick(uncoloured)}`);
  }
  return captions;
}

function several(words, rng) {
  const shuffled = words.map((word) => [rng.next(), word]).sort(([a], [b]) => a - b);
  return shuffled
    .slice(0, rng.integer(1, 4))
    .map(([, word]) => word)
    .join(' ');
}

/** The colour of most of a picture's pixels, or undefined where there is no clear one. RGBA. */
export function mainColour(pictures) {
  const counts = new Map();
  let total = 0;
  for (const data of pictures)
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] < 200) continue;
      const name = colourOf(data[i], data[i + 1], data[i + 2]);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      total++;
    }
  const [best] = [...counts].sort(([, a], [, b]) => b - a);
  return best && best[1] > 0.5 * total ? best[0] : undefined;
}

function colourOf(r, g, b) {
  const [most, least] = [Math.max(r, g, b), Math.min(r, g, b)];
  const [light, chroma] = [(most + least) / 510, (most - least) / 255];
  if (chroma < 0.12) return light < 0.25 ? 'black' : light > 0.85 ? 'white' : 'gray';
  if (light < 0.12) return 'black';
  const sector =
    most === r ? (g - b) / (most - least) : most === g ? 2 + (b - r) / (most - least) : 4 + (r - g) / (most - least);
  const hue = (60 * sector + 360) % 360;
  if (hue < 14 || hue >= 345) return light > 0.75 ? 'pink' : 'red';
  if (hue < 42) return light < 0.42 ? 'brown' : 'orange';
  if (hue < 66) return light < 0.3 ? 'brown' : 'yellow';
  if (hue < 165) return 'green';
  if (hue < 255) return 'blue';
  if (hue < 300) return 'purple';
  return 'pink';
}
