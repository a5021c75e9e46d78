import type { Canvas, SKRSContext2D } from '@napi-rs/canvas';
import type { LinePlan } from '../../data/rendered/line.js';
import type { Gray } from '../../image/gray.js';
import type { Box } from '../../image/pixels.js';

/** A canvas that grows to what is drawn and is used again. */
export interface Sheet {
  readonly canvas: Canvas;
  readonly context: SKRSContext2D;
}

/** Ink 255, paper 0, of the top left part of a sheet. */
export function readCoverage({ context }: Sheet, width: number, height: number): Gray {
  const { data: rgba } = context.getImageData(0, 0, width, height);
  const data = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) data[i] = 255 - rgba[i * 4];
  return { width, height, data };
}

/** Makes the top left part of a sheet white. */
export function clearSheet({ canvas, context }: Sheet, width: number, height: number): void {
  // Setting a canvas's size throws its pixels and its state away, so it only ever grows.
  if (canvas.width < width) canvas.width = Math.ceil(width / 512) * 512;
  if (canvas.height < height) canvas.height = Math.ceil(height / 128) * 128;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.fillStyle = '#000';
}

/** Sets font and spacing; `size` in pixels. */
export function setFont(
  context: SKRSContext2D,
  cssFamilies: string,
  { size, letterSpacing, wordSpacing }: { size: number; letterSpacing: number; wordSpacing: number },
): void {
  context.font = `${size}px ${cssFamilies}`;
  context.letterSpacing = `${letterSpacing * size}px`;
  context.wordSpacing = `${wordSpacing * size}px`;
}

type Extent = { left: number; top: number; right: number; bottom: number };

/** Bounds of the ink of `text` at the origin, stretched and turned, and those of the crop round it. */
function measure(context: SKRSContext2D, plan: LinePlan, text: string): { ink: Extent; crop: Extent; angle: number } {
  const { size, stretch, margins, fontExtent } = plan;
  const metrics = context.measureText(text);
  const left = -metrics.actualBoundingBoxLeft * stretch;
  const right = metrics.actualBoundingBoxRight * stretch;
  const top = -metrics.actualBoundingBoxAscent;
  const bottom = metrics.actualBoundingBoxDescent;
  const steepest = (0.4 * size) / Math.max(size, right - left);
  const angle = Math.sign(plan.angle) * Math.min(Math.abs(plan.angle), steepest);
  const sin = Math.sin(angle);
  const cos = Math.cos(angle);
  const xs = [left, right].flatMap((x) => [top, bottom].map((y) => x * cos - y * sin));
  const ys = [left, right].flatMap((x) => [top, bottom].map((y) => x * sin + y * cos));
  const ink = { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  const toFont = (value: number, font: number) => value + fontExtent * (font - value);
  const highest = Math.min(ink.top, toFont(ink.top, -metrics.fontBoundingBoxAscent));
  const lowest = Math.max(ink.bottom, toFont(ink.bottom, metrics.fontBoundingBoxDescent));
  // A line of dots and dashes alone still gets the height of a line.
  const lack = Math.max(0, 0.55 * size - (lowest - highest)) / 2;
  return {
    ink,
    crop: {
      left: ink.left - margins.left * size,
      right: ink.right + margins.right * size,
      top: highest - lack - margins.top * size,
      bottom: lowest + lack + margins.bottom * size,
    },
    angle,
  };
}

const aspectOf = ({ left, right, top, bottom }: Extent) => (right - left) / (bottom - top);

/** Leaves words (or letters of the only word) out at the end until the crop is narrow enough. */
function fit(context: SKRSContext2D, plan: LinePlan, maxAspect: number) {
  let text = plan.text;
  for (;;) {
    const measured = measure(context, plan, text);
    const excess = aspectOf(measured.crop) / maxAspect;
    if (excess <= 1 || text.length === 1) return { text, ...measured };
    const keep = Math.max(1, Math.min(text.length - 1, Math.floor(text.length / excess)));
    const space = text.lastIndexOf(' ', keep);
    text = text.slice(0, space > 0 ? space : keep).trimEnd();
  }
}

/** Where the middle of each character of `text` is on its base line, in pixels from its start. */
function characterCentres(context: SKRSContext2D, text: string): Float32Array {
  const characters = [...text];
  let before = '';
  let start = 0;
  return Float32Array.from(characters, (character) => {
    before += character;
    const end = context.measureText(before).width;
    const centre = (start + end) / 2;
    start = end;
    return centre;
  });
}

/** What `drawLine` gives: `centres` has the place across of each character's middle. */
export interface DrawnLine {
  readonly coverage: Gray;
  readonly text: string;
  readonly box: Box;
  readonly centres: Float32Array;
}

/** Draws a planned line: its coverage, the text that fitted and the box of its ink within it. */
export function drawLine(
  sheet: Sheet,
  plan: LinePlan,
  { cssFamilies, maxAspect }: { readonly cssFamilies: string; readonly maxAspect: number },
): DrawnLine {
  const { context } = sheet;
  setFont(context, cssFamilies, plan);
  const { text, ink, crop, angle } = fit(context, plan, maxAspect);
  const x = Math.floor(crop.left) - plan.phaseX;
  const y = Math.floor(crop.top) - plan.phaseY;
  const width = Math.max(1, Math.round(crop.right - x));
  const height = Math.max(1, Math.round(crop.bottom - y));
  clearSheet(sheet, width, height);
  setFont(context, cssFamilies, plan);
  context.translate(-x, -y);
  context.rotate(angle);
  context.scale(plan.stretch, 1);
  context.fillText(text, 0, 0);
  const { size, pitch, neighbourShift } = plan;
  if (plan.above) context.fillText(plan.above, -neighbourShift * size, -pitch * size);
  if (plan.below) context.fillText(plan.below, -neighbourShift * size, pitch * size);
  if (plan.underline) context.fillRect(0, size * 0.12, (ink.right - ink.left) / plan.stretch, Math.max(1, size * 0.05));
  const left = Math.max(0, Math.floor(ink.left - x));
  const top = Math.max(0, Math.floor(ink.top - y));
  const box = {
    left,
    top,
    width: Math.min(width, Math.ceil(ink.right - x)) - left,
    height: Math.min(height, Math.ceil(ink.bottom - y)) - top,
  };
  const across = Math.cos(angle) * plan.stretch;
  const centres = characterCentres(context, text).map((centre) => centre * across - x);
  return { coverage: readCoverage(sheet, width, height), text, box, centres };
}
