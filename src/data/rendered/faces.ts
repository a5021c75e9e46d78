import type { UnknownKind } from './unknown-glyphs.js';

/** How letters of a family look, so that a run can ask for some kinds only. */
export type FaceKind = 'sans' | 'serif' | 'slab' | 'mono' | 'condensed';

/** One font family and the package that brings it. */
export interface FontFamily {
  readonly name: string;
  readonly package: string;
  readonly kind: FaceKind;
  readonly licence: 'OFL-1.1' | 'Apache-2.0' | 'Bitstream-Vera';
  /** Styles by name: regular, bold, italic, boldItalic. */
  readonly styles: readonly FaceStyle[];
}

export type FaceStyle = 'regular' | 'bold' | 'italic' | 'boldItalic';

/** One font: a family in one style. */
export interface Face {
  /** Unique, e.g. `lato-bold`. */
  readonly id: string;
  readonly family: FontFamily;
  readonly style: FaceStyle;
}

/** A face of this machine: what it can draw. */
export interface LoadedFace extends Face {
  /** The characters of the alphabet that the font itself has. */
  readonly charset: ReadonlySet<string>;
  /** The unknown glyphs of the face's split that it or the font that stands in for it draws. */
  readonly unknownGlyphs: ReadonlyMap<UnknownKind, readonly string[]>;
}

const all: readonly FaceStyle[] = ['regular', 'bold', 'italic', 'boldItalic'];
const upright: readonly FaceStyle[] = ['regular', 'bold'];
const noBoldItalic: readonly FaceStyle[] = ['regular', 'bold', 'italic'];

function fontsource(
  kind: FaceKind,
  names: string,
  styles = all,
  licence: FontFamily['licence'] = 'OFL-1.1',
): FontFamily[] {
  return names.split(' ').map((name) => ({ name, package: `@fontsource/${name}`, kind, licence, styles }));
}

function family(kind: FaceKind, from: string, licence: FontFamily['licence'], name: string, styles = all): FontFamily {
  return { name, package: from, kind, licence, styles };
}

/** Every family that text is rendered with, in a fixed order: a sample is a function of it. */
export const fontFamilies: readonly FontFamily[] = [
  ...fontsource('sans', 'roboto open-sans lato source-sans-3 noto-sans montserrat inter work-sans arimo pt-sans'),
  ...fontsource('sans', 'fira-sans ibm-plex-sans libre-franklin carlito cabin nunito-sans'),
  ...fontsource('serif', 'merriweather lora pt-serif noto-serif playfair-display source-serif-4 tinos eb-garamond'),
  ...fontsource('serif', 'libre-baskerville gelasio caladea spectral vollkorn alegreya crimson-pro'),
  ...fontsource('serif', 'libre-caslon-text old-standard-tt', noBoldItalic),
  ...fontsource('serif', 'domine', upright),
  ...fontsource('slab', 'bitter zilla-slab'),
  ...fontsource('slab', 'roboto-slab', upright, 'Apache-2.0'),
  ...fontsource('slab', 'arvo', upright),
  ...fontsource('mono', 'roboto-mono source-code-pro ibm-plex-mono courier-prime cousine anonymous-pro'),
  ...fontsource('mono', 'inconsolata', upright),
  ...fontsource('condensed', 'roboto-condensed barlow-condensed archivo-narrow fira-sans-condensed'),
  ...fontsource('condensed', 'pt-sans-narrow oswald', upright),
  family('sans', 'dejavu-fonts-ttf', 'Bitstream-Vera', 'DejaVuSans'),
  family('serif', 'dejavu-fonts-ttf', 'Bitstream-Vera', 'DejaVuSerif'),
  family('mono', 'dejavu-fonts-ttf', 'Bitstream-Vera', 'DejaVuSansMono'),
  family('serif', 'computer-modern', 'OFL-1.1', 'cmu-serif'),
  family('sans', 'computer-modern', 'OFL-1.1', 'cmu-sans-serif'),
  family('mono', 'computer-modern', 'OFL-1.1', 'cmu-typewriter-text'),
];

/** Families that no training sample is ever drawn with. */
export const heldOutFamilies: readonly string[] = ['nunito-sans', 'crimson-pro', 'anonymous-pro'];

/** The faces of some families, in the order of `fontFamilies`. */
export function facesOf(families: readonly FontFamily[]): Face[] {
  return families.flatMap((each) => each.styles.map((style) => ({ id: `${each.name}-${style}`, family: each, style })));
}
