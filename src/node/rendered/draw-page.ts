import type { Rng } from '../../core/rng.js';
import { applyEffects } from '../../data/rendered/effects.js';
import type { FaceStyle } from '../../data/rendered/faces.js';
import {
  faceOfStyle,
  joinParagraphs,
  type PageLine,
  type PagePlan,
  type RenderedPage,
} from '../../data/rendered/page.js';
import type { Box } from '../../image/pixels.js';
import { clearSheet, readCoverage, type Sheet, setFont } from './draw-line.js';
import type { CanvasFace } from './fonts.js';

/** Width of a text in one of a family's faces. */
export function measureWith({ context }: Sheet, faces: readonly CanvasFace[], family: string) {
  return (text: string, style: FaceStyle, size: number): number => {
    setFont(context, faceOfStyle(faces, family, style).cssFamilies, { size, letterSpacing: 0, wordSpacing: 0 });
    return context.measureText(text).width;
  };
}

/** The upright box round a box that is turned about the centre of a page. */
function turned(box: Box, degrees: number, page: { width: number; height: number }): Box {
  const sin = Math.sin((degrees * Math.PI) / 180);
  const cos = Math.cos((degrees * Math.PI) / 180);
  const corners = [box.left, box.left + box.width].flatMap((x) =>
    [box.top, box.top + box.height].map((y) => {
      const dx = x - page.width / 2;
      const dy = y - page.height / 2;
      return [page.width / 2 + dx * cos - dy * sin, page.height / 2 + dx * sin + dy * cos];
    }),
  );
  const xs = corners.map(([x]) => x);
  const ys = corners.map(([, y]) => y);
  const left = Math.floor(Math.min(...xs));
  const top = Math.floor(Math.min(...ys));
  return { left, top, width: Math.ceil(Math.max(...xs)) - left, height: Math.ceil(Math.max(...ys)) - top };
}

/** Draws a planned page. */
export function drawPage(sheet: Sheet, plan: PagePlan, faces: readonly CanvasFace[], rng: Rng): RenderedPage {
  const { width, height, skew } = plan;
  const { context } = sheet;
  clearSheet(sheet, width, height);
  context.translate(width / 2, height / 2);
  context.rotate((skew * Math.PI) / 180);
  context.translate(-width / 2, -height / 2);
  const lines: PageLine[] = plan.lines.map(({ text, x, y, style, size, wordSpacing, paragraph, column }) => {
    setFont(context, faceOfStyle(faces, plan.family, style).cssFamilies, {
      size,
      letterSpacing: 0,
      wordSpacing: wordSpacing / size,
    });
    context.fillText(text, x, y);
    const metrics = context.measureText(text);
    const left = Math.floor(x - metrics.actualBoundingBoxLeft);
    const top = Math.floor(y - metrics.actualBoundingBoxAscent);
    const box = {
      left,
      top,
      width: Math.ceil(x + metrics.actualBoundingBoxRight) - left,
      height: Math.ceil(y + metrics.actualBoundingBoxDescent) - top,
    };
    return { text, box: skew === 0 ? box : turned(box, skew, plan), paragraph, column };
  });
  const { family, dpi, columns } = plan;
  return {
    image: applyEffects(readCoverage(sheet, width, height), plan.effects, rng),
    text: `${joinParagraphs(lines, '\n').join('\n\n')}\n`,
    lines,
    paragraphs: joinParagraphs(lines, ' '),
    family,
    dpi,
    columns,
    skew,
  };
}
