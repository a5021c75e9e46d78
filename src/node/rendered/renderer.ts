import { createRng } from '../../core/rng.js';
import { applyEffects } from '../../data/rendered/effects.js';
import type { Lexicon, Split } from '../../data/rendered/lexicon.js';
import { type LineOptions, planLine, type RenderedLine } from '../../data/rendered/line.js';
import { type PageOptions, pickFamily, planPage, type RenderedPage } from '../../data/rendered/page.js';
import { markUnknown } from '../../data/rendered/unknown.js';
import { type Gray, resizeGray } from '../../image/gray.js';
import { type DrawnLine, drawLine, type Sheet } from './draw-line.js';
import { drawPage, measureWith } from './draw-page.js';
import { type CanvasFace, canvasFaces } from './fonts.js';
import { loadLexicon } from './words.js';

/** Draws text. Each result is a function of its options alone. */
export interface TextRenderer {
  renderLine(options: LineOptions & { seed: number; index: number }): RenderedLine;
  renderPage(options: PageOptions & { seed: number; index: number }): RenderedPage;
  /** The fonts of a split. */
  faces(split: Split): readonly CanvasFace[];
}

type Placed = Pick<DrawnLine, 'box' | 'centres'> & { gray: Gray };

function scaled({ gray, box, centres }: Placed, height: number): Placed {
  const factor = height / gray.height;
  const width = Math.max(1, Math.round(gray.width * factor));
  const left = Math.floor(box.left * factor);
  const top = Math.floor(box.top * factor);
  return {
    gray: resizeGray(gray, { width, height }),
    centres: centres.map((centre) => centre * factor),
    box: {
      left,
      top,
      width: Math.min(width, Math.ceil((box.left + box.width) * factor)) - left,
      height: Math.min(height, Math.ceil((box.top + box.height) * factor)) - top,
    },
  };
}

/** Streams of a sample, so that drawing more of one thing does not change another. */
const streams = { plan: 0x11e0, effects: 0xeff0, page: 0x9a6e };

/**
 * Opens the fonts, words and canvas that text is rendered with. They come from packages that a training machine has installed
 * (`@napi-rs/canvas`, the fonts and the word lists); throws InputError where one is missing.
 */
export async function createTextRenderer(): Promise<TextRenderer> {
  const { createCanvas, GlobalFonts } = await import('@napi-rs/canvas');
  const canvas = createCanvas(2048, 128);
  const sheet: Sheet = { canvas, context: canvas.getContext('2d') };
  const splits = new Map<Split, { lexicon: Lexicon; faces: CanvasFace[] }>();
  const supplies = (split: Split) => {
    let found = splits.get(split);
    if (!found) {
      found = { lexicon: loadLexicon(split), faces: canvasFaces(GlobalFonts, split) };
      splits.set(split, found);
    }
    return found;
  };
  return {
    faces: (split) => supplies(split).faces,
    renderLine(options) {
      const { seed, index, split = 'train', maxAspect = Infinity } = options;
      const { lexicon, faces } = supplies(split);
      const plan = planLine(createRng(seed, index, streams.plan), options, { lexicon, faces });
      const face = plan.face as CanvasFace;
      const cssFamilies = options.unknown ? face.allCssFamilies : face.cssFamilies;
      const { coverage, text, ...places } = drawLine(sheet, plan, { cssFamilies, maxAspect });
      const gray = applyEffects(coverage, plan.effects, createRng(seed, index, streams.effects));
      const sized = options.height ? scaled({ gray, ...places }, options.height) : { gray, ...places };
      const { width, height, data } = sized.gray;
      const { box, centres } = sized;
      return { seed, index, width, height, pixels: data, text: markUnknown(text), box, centres, face: face.id };
    },
    renderPage(options) {
      const { seed, index, split = 'train' } = options;
      const { lexicon, faces } = supplies(split);
      const rng = createRng(seed, index, streams.page);
      const face = pickFamily(rng, faces, options.families);
      const plan = planPage(rng, options, face, lexicon, measureWith(sheet, faces, face.family.name));
      return drawPage(sheet, plan, faces, createRng(seed, index, streams.effects));
    },
  };
}
