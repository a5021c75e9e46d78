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
  return ['latin', 'latin-ext'].map((subset) => `files/${name}-${subset}-${from(fontsourceStyles)}.woff`);
}

/** A face that the canvas can draw: its CSS family list, registered when it is first asked for. */
export interface CanvasFace extends LoadedFace {
  readonly cssFamilies: string;
}

function canvasFace(face: Face, fonts: typeof GlobalFonts): CanvasFace {
  let loaded: { charset: Set<string>; cssFamilies: string } | undefined;
  const load = () => {
    if (loaded) return loaded;
    const charset = new Set<string>();
    const names: string[] = [];
    for (const file of filesOf(face)) {
      const path = join(packageFolder(face.family.package), file);
      // Not every family has letters beyond Latin-1.
      if (names.length > 0 && !existsSync(path)) continue;
      const bytes = readFileSync(path);
      const covered = coveredCharacters(bytes, alphabet, path);
      const name = `varyclip-${face.id}-${names.length}`;
      if (!fonts.register(bytes, name)) throw new InputError(`${path}: expected a font the canvas can load`);
      for (const character of covered) charset.add(character);
      names.push(name);
    }
    loaded = { charset, cssFamilies: names.map((name) => `"${name}"`).join(', ') };
    return loaded;
  };
  return {
    ...face,
    get charset() {
      return load().charset;
    },
    get cssFamilies() {
      return load().cssFamilies;
    },
  };
}

/** The faces of one split, each loaded when it is first drawn with. */
export function canvasFaces(fonts: typeof GlobalFonts, split: Split): CanvasFace[] {
  const families = fontFamilies.filter(({ name }) => heldOutFamilies.includes(name) === (split === 'heldOut'));
  return facesOf(families).map((face) => canvasFace(face, fonts));
}
