/** The text beside the picture: a line of text and its box are marked together. */
import { element } from './elements.js';
import type { PageReading, ReadLine } from './reading.js';

export interface TextViewParts {
  /** A listbox: one stop for the Tab key, arrows move in it. */
  readonly list: HTMLElement;
  readonly boxes: SVGSVGElement;
}

export interface TextView {
  clear(): void;
  /** Text that was just read. */
  append(text: string): void;
  /** The whole reading, with places on a picture of this size. */
  finish(reading: PageReading, size: { readonly width: number; readonly height: number } | undefined): void;
}

/** Below this a line is shown as unsure. */
const sureFrom = 0.8;

export function createTextView({ list, boxes }: TextViewParts): TextView {
  let options: HTMLElement[] = [];
  let rects: SVGRectElement[] = [];
  const mark = (index: number | undefined) => {
    options.forEach((option, i) => {
      option.classList.toggle('marked', i === index);
      option.setAttribute('aria-selected', String(i === index));
    });
    rects.forEach((rect, i) => void rect.classList.toggle('marked', i === index));
  };
  const focus = (index: number) => {
    options.forEach((option, i) => {
      option.tabIndex = i === index ? 0 : -1;
    });
    options[index].focus();
  };
  const addLine = (text: string, classes: string) => {
    const option = element('div', { classes });
    const index = options.length;
    option.setAttribute('role', 'option');
    option.setAttribute('aria-selected', 'false');
    option.tabIndex = index === 0 ? 0 : -1;
    option.append(element('span', { classes: 'words', text }));
    option.addEventListener('focus', () => mark(index));
    option.addEventListener('blur', () => mark(undefined));
    option.addEventListener('pointerenter', () => mark(index));
    option.addEventListener('pointerleave', () => markFocused());
    option.addEventListener('click', () => {
      // A click at the end of a selection would lose it.
      if (String(getSelection()) === '') focus(index);
    });
    options.push(option);
    list.append(option);
    list.hidden = false;
    return option;
  };
  const markFocused = () => {
    const index = options.indexOf(document.activeElement as HTMLElement);
    mark(index < 0 ? undefined : index);
  };
  const addBox = ({ box }: ReadLine, index: number) => {
    const rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    const { left, top, width, height } = box;
    for (const [name, value] of Object.entries({ x: left, y: top, width, height }))
      rect.setAttribute(name, String(value));
    rect.addEventListener('pointerenter', () => mark(index));
    rect.addEventListener('pointerleave', () => markFocused());
    rect.addEventListener('click', () => focus(index));
    rects.push(rect);
    boxes.append(rect);
  };
  list.addEventListener('keydown', (event) => {
    const at = options.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1 }[event.key];
    if (at < 0 || to === undefined || !(to in options)) return;
    event.preventDefault();
    focus(to);
  });
  const clear = () => {
    list.replaceChildren();
    boxes.replaceChildren();
    [options, rects] = [[], []];
    list.hidden = true;
  };
  return {
    clear,
    append: (text) => {
      for (const [i, part] of text.split('\n').entries()) {
        const last = options.at(-1)?.querySelector('.words');
        if (i === 0 && last) last.textContent += part;
        else addLine(part, '');
      }
    },
    finish: (reading, size) => {
      // The line that a reader is at stays where they are.
      const focused = options.indexOf(document.activeElement as HTMLElement);
      clear();
      for (const line of linesOf(reading)) {
        const option = addLine(line.text, line.classes);
        if (line.confidence === undefined) continue;
        const sure = element('span', { classes: 'sure', text: `${Math.floor(100 * line.confidence)} %` });
        sure.title = 'How sure the reader is of this line';
        option.append(sure);
      }
      if (size) {
        boxes.setAttribute('viewBox', `0 0 ${size.width} ${size.height}`);
        reading.lines.forEach(addBox);
      }
      if (focused >= 0 && options.length > 0) focus(Math.min(focused, options.length - 1));
    },
  };
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
