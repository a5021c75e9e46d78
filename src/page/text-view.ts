/** The text beside the picture, while it is read and when it is there. */
import { element } from './elements.js';
import { createLinkedLines, type LinkedParts } from './linked-lines.js';
import type { PageReading } from './reading.js';

export interface TextView {
  clear(): void;
  /** Text that was just read. */
  append(text: string): void;
  /** The whole reading, with places on a picture of this size. */
  finish(reading: PageReading, size: { readonly width: number; readonly height: number } | undefined): void;
}

/** Below this a line is shown as unsure. */
const sureFrom = 0.8;

export function createTextView(parts: LinkedParts): TextView {
  const lines = createLinkedLines(parts);
  return {
    clear: lines.clear,
    append: (text) => {
      for (const [i, part] of text.split('\n').entries()) {
        const last = lines.lastWords();
        if (i === 0 && last) last.textContent += part;
        else lines.addLine(part, '');
      }
    },
    finish: (reading, size) => {
      // The line that a reader is at stays where they are.
      const focused = lines.focused();
      lines.clear();
      for (const { text, classes, confidence } of linesOf(reading)) {
        const option = lines.addLine(text, classes);
        if (confidence !== undefined) option.append(surenessOf(confidence));
      }
      if (size) {
        parts.boxes.setAttribute('viewBox', `0 0 ${size.width} ${size.height}`);
        for (const { box } of reading.lines) lines.addBox(box);
      }
      if (focused >= 0 && lines.length() > 0) lines.focus(Math.min(focused, lines.length() - 1));
    },
  };
}

function surenessOf(confidence: number): HTMLElement {
  const sure = element('span', { classes: 'sure', text: `${Math.floor(100 * confidence)} %` });
  sure.title = 'How sure the reader is of this line';
  return sure;
}

interface ShownLine {
  readonly text: string;
  readonly classes: string;
  readonly confidence?: number;
}

function linesOf({ lines, text }: PageReading): ShownLine[] {
  if (lines.length === 0) return text === '' ? [] : text.split('\n').map((line) => ({ text: line, classes: '' }));
  return lines.map(({ text, confidence, paragraph, block }, i) => {
    const before = lines[i - 1];
    const begins = before && (before.paragraph !== paragraph || before.block !== block);
    const classes = [begins ? 'paragraph' : '', confidence < sureFrom ? 'unsure' : ''].join(' ').trim();
    return { text, confidence, classes };
  });
}
