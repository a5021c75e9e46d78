import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { GlobalFonts } from '@napi-rs/canvas';
import { InputError, messageOf } from '../../core/errors.js';
import { alphabet } from '../../data/rendered/alphabet.js';
import {
  type Face,
  type FaceStyle,
  facesOf,
  fontFamilies,
  heldOutFamilies,
  type LoadedFace,
} from '../../data/rendered/faces.js';
import type { Split } from '../../data/rendered/lexicon.js';
import { unknownGlyphs, unknownGlyphsOf } from '../../data/rendered/unknown-glyphs.js';
import { coveredCharacters } from './woff.js';

const require = createRequire(import.meta.url);

/** Folder of an installed package. Throws InputError where it is not installed. */
export function packageFolder(name: string): string {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch (cause) {
    const text = `rendered text: expected the package ${name}, found none; install it beside varyclip (${messageOf(cause)})`;
    throw new InputError(text, { cause });
  }
}

const fontsourceStyles = { regular: '400-normal', bold: '700-normal', italic: '400-italic', boldItalic: '700-italic' };
const dejavuStyles = { regular: '', bold: '-Bold', italic: '-Oblique', boldItalic: '-BoldOblique' };
const dejavuSerifStyles = { ...dejavuStyles, italic: '-Italic', boldItalic: '-BoldItalic' };
const modernStyles = { regular: '500-roman', bold: '700-roman', italic: '500-italic', boldItalic: '700-italic' };

/** Files of a face inside its package. Together they have its glyphs; an earlier one is asked first. */
function filesOf({ family, style }: Face): string[] {
  const { name } = family;
  const from = (styles: Record<FaceStyle, string>) => styles[style];
  if (family.package === 'dejavu-fonts-ttf') {
    return [`ttf/${name}${from(name === 'DejaVuSerif' ? dejavuSerifStyles : dejavuStyles)}.ttf`];
  }
  if (family.package === 'computer-modern') return [`fonts/${name}-${from(modernStyles)}.ttf`];
  return partsOf({ family, style }, ['latin', 'latin-ext']);
}

/** A fontsource package has a file for each part of a font. */
function partsOf({ family, style }: Pick<Face, 'family' | 'style'>, parts: readonly string[]): string[] {
  return parts.map((part) => `files/${family.name}-${part}-${fontsourceStyles[style]}.woff`);
}

/** Files of a face, beside those of `filesOf`, that have nothing of the alphabet. */
function unknownFilesOf(face: Face): string[] {
  if (!face.family.package.startsWith('@fontsource/')) return [];
  return partsOf(face, ['cyrillic', 'cyrillic-ext', 'greek', 'vietnamese', 'devanagari', 'math', 'symbols']);
}

/** A face that the canvas can draw, loaded when it is first asked for. */
export interface CanvasFace extends LoadedFace {
  /** CSS families that draw the face's characters of the alphabet. */
  readonly cssFamilies: string;
  /** CSS families that draw its unknown glyphs too. */
  readonly allCssFamilies: string;
}

/** Fonts of the canvas: what some characters are drawn with, and which of them. */
interface Loaded {
  readonly characters: ReadonlySet<string>;
  readonly cssFamilies: string;
}

/** Every character that is drawn. */
const drawn = alphabet + Object.values(unknownGlyphs).flat().join('');
const known = new Set(alphabet);

/** Registers files by names that begin with `name`. */
function register(fonts: typeof GlobalFonts, name: string, paths: readonly string[]): Loaded {
  const characters = new Set<string>();
  const names = paths.map((path, i) => {
    const bytes = readFileSync(path);
    for (const character of coveredCharacters(bytes, drawn, path)) characters.add(character);
    const own = `varyclip-${name}-${i}`;
    if (!fonts.register(bytes, own)) throw new InputError(`${path}: expected a font the canvas can load`);
    return `"${own}"`;
  });
  return { characters, cssFamilies: names.join(', ') };
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** DejaVu Sans, which stands in for what a font lacks, as programs that show text have it. */
function createStandIns(fonts: typeof GlobalFonts): Readonly<Record<'regular' | 'bold', () => Loaded>> {
  const from = (file: string) =>
    once(() => register(fonts, `stand-in-${file}`, [join(packageFolder('dejavu-fonts-ttf'), 'ttf', `${file}.ttf`)]));
  return { regular: from('DejaVuSans'), bold: from('DejaVuSans-Bold') };
}

function canvasFace(
  face: Face,
  split: Split,
  { fonts, standIns }: { readonly fonts: typeof GlobalFonts; readonly standIns: ReturnType<typeof createStandIns> },
): CanvasFace {
  const folder = once(() => packageFolder(face.family.package));
  const inFolder = (file: string) => join(folder(), file);
  const own = once(() => {
    const [first, ...more] = filesOf(face).map(inFolder);
    // Not every family has letters beyond Latin-1.
    return register(fonts, face.id, [first, ...more.filter((path) => existsSync(path))]);
  });
  const charset = once(() => new Set([...own().characters].filter((character) => known.has(character))));
  const further = once(() => {
    const { style } = face;
    const paths = unknownFilesOf(face).map(inFolder);
    const fontsOf = [
      own(),
      register(
        fonts,
        `${face.id}-further`,
        paths.filter((path) => existsSync(path)),
      ),
      standIns[style === 'bold' || style === 'boldItalic' ? 'bold' : 'regular'](),
    ];
    const drawable = new Set(fontsOf.flatMap(({ characters }) => [...characters]));
    const isItalic = style === 'italic' || style === 'boldItalic';
    const cssFamilies = fontsOf.flatMap(({ cssFamilies }) => (cssFamilies === '' ? [] : [cssFamilies])).join(', ');
    return { glyphs: unknownGlyphsOf(drawable, { split, isItalic }), cssFamilies };
  });
  return {
    ...face,
    get charset() {
      return charset();
    },
    get cssFamilies() {
      return own().cssFamilies;
    },
    get unknownGlyphs() {
      return further().glyphs;
    },
    get allCssFamilies() {
      return further().cssFamilies;
    },
  };
}

/** The faces of one split, each loaded when it is first drawn with. */
export function canvasFaces(fonts: typeof GlobalFonts, split: Split): CanvasFace[] {
  const families = fontFamilies.filter(({ name }) => heldOutFamilies.includes(name) === (split === 'heldOut'));
  const standIns = createStandIns(fonts);
  return facesOf(families).map((face) => canvasFace(face, split, { fonts, standIns }));
}
