// Emoji artwork of several vendors from npm packages, as SVG by code point; names and keywords of Unicode's CLDR.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);

/** Licences are in models/clip-nano/README.md. The two last never train: one is held out, one may only be shared alike. They say
 * which concepts there are. */
export const vendors = [
  'noto',
  'noto-v1',
  'fluent-emoji',
  'fluent-emoji-flat',
  'emojione',
  'fxemoji',
  'twemoji',
  'openmoji',
];
/** More pictures of the same concepts: sets that have some of them only. */
export const moreVendors = ['streamline-emojis', 'flag', 'circle-flags', 'flagpack', 'cif'];
export const heldOutVendor = 'twemoji';
export const secondHeldOutVendor = 'openmoji';

const packageJson = (name, file) =>
  JSON.parse(readFileSync(join(dirname(require.resolve(`${name}/package.json`)), file), 'utf8'));

/** `1f34e` and the like, without variation selectors. */
export const codeOf = (emoji) =>
  Array.from(emoji, (char) => char.codePointAt(0).toString(16).padStart(4, '0'))
    .filter((code) => code !== 'fe0f')
    .join('-');
const bareCode = (code) =>
  code
    .split('-')
    .filter((part) => part !== 'fe0f')
    .join('-');
const bareName = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, '');
/** `de`, `de-4x3` or `gb-wls` of a set of flags as the emoji's code points: regional indicators, or tags behind a black flag. */
function flagCode(slug) {
  const [, country, part] = /^([a-z]{2})(?:-(eng|sct|wls))?(?:-4x3)?$/.exec(slug) ?? [];
  if (!country) return undefined;
  const shifted = (text, by) => Array.from(text, (char) => (char.codePointAt(0) + by).toString(16));
  return part
    ? ['1f3f4', ...shifted(country + part, 0xe0000), 'e007f'].join('-')
    : shifted(country, 0x1f1e6 - 'a'.codePointAt(0)).join('-');
}

/** Emoji without skin tones: { code, emoji, name, group, keywords }. */
export function readEmoji() {
  const data = packageJson('unicode-emoji-json', 'data-by-emoji.json');
  const words = packageJson('emojilib', 'dist/emoji-en-US.json');
  return Object.entries(data).map(([emoji, { name, group }]) => ({
    code: codeOf(emoji),
    emoji,
    name: name.toLowerCase(),
    group,
    keywords: [...new Set((words[emoji] ?? []).map((word) => word.replaceAll('_', ' ').toLowerCase()))],
  }));
}

/** Per vendor: code point to SVG. A vendor's icons that no emoji is called like are left out. */
export function readArtwork(emoji) {
  const sets = new Map([...vendors, ...moreVendors].map((vendor) => [vendor, readSet(vendor)]));
  const codeOfSlug = new Map();
  for (const { chars } of sets.values())
    for (const [code, slug] of Object.entries(chars)) codeOfSlug.set(slug, bareCode(code));
  const codeOfName = new Map([
    ...[...codeOfSlug].map(([slug, code]) => [bareName(slug), code]),
    ...emoji.map(({ name, code }) => [bareName(name), code]),
  ]);
  const known = new Set(emoji.map(({ code }) => code));
  return new Map(
    [...sets].map(([vendor, { icons, chars, svgOf }]) => {
      const pairs =
        Object.keys(chars).length > 0
          ? Object.entries(chars).map(([code, slug]) => [bareCode(code), slug])
          : icons.map((slug) => [
              codeOfSlug.get(slug) ??
                codeOfName.get(bareName(slug).replace(/^flagfor/, 'flag')) ??
                codeOfSlug.get(slug.replace(/-[0-9]$/, '')) ??
                flagCode(slug),
              slug,
            ]);
      const found = pairs.filter(([code]) => known.has(code)).map(([code, slug]) => [code, svgOf(slug)]);
      return [vendor, new Map(found.filter(([, svg]) => svg))];
    }),
  );
}

function readSet(vendor) {
  const name = `@iconify-json/${vendor}`;
  const { icons, aliases = {}, width: setWidth = 16, height: setHeight = 16 } = packageJson(name, 'icons.json');
  let chars = {};
  try {
    chars = packageJson(name, 'chars.json');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  const svgOf = (slug) => {
    const icon = icons[slug] ?? icons[aliases[slug]?.parent];
    if (!icon) return undefined;
    const { body, left = 0, top = 0, width = setWidth, height = setHeight } = icon;
    return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${left} ${top} ${width} ${height}">${body}</svg>`;
  };
  return { icons: [...Object.keys(icons), ...Object.keys(aliases)], chars, svgOf };
}
