/** Lines of text and boxes on a picture, by number: what is pointed at or focused is marked on both sides. */
import { element } from './elements.js';

export interface LinkedParts {
  /** A listbox: one stop for the Tab key, arrows move in it. */
  readonly list: HTMLElement;
  readonly boxes: SVGSVGElement;
}

export interface LinkedLines {
  addLine(text: string, classes: string): HTMLElement;
  /** The box of the next line that has none. */
  addBox(box: { readonly left: number; readonly top: number; readonly width: number; readonly height: number }): void;
  focus(index: number): void;
  /** The line that has the focus, or -1. */
  focused(): number;
  /** The words of the last line. */
  lastWords(): Element | null;
  length(): number;
  clear(): void;
}

export function createLinkedLines({ list, boxes }: LinkedParts): LinkedLines {
  let options: HTMLElement[] = [];
  let rects: SVGRectElement[] = [];
  const focused = () => options.indexOf(document.activeElement as HTMLElement);
  const mark = (index: number) => {
    options.forEach((option, i) => {
      option.classList.toggle('marked', i === index);
      option.setAttribute('aria-selected', String(i === index));
    });
    rects.forEach((rect, i) => void rect.classList.toggle('marked', i === index));
  };
  const markWhilePointedAt = (target: Element, index: number) => {
    target.addEventListener('pointerenter', () => mark(index));
    target.addEventListener('pointerleave', () => mark(focused()));
  };
  const focus = (index: number) => {
    options.forEach((option, i) => {
      option.tabIndex = i === index ? 0 : -1;
    });
    options[index].focus();
  };
  list.addEventListener('keydown', (event) => {
    const at = focused();
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1 }[event.key];
    if (at < 0 || to === undefined || !(to in options)) return;
    event.preventDefault();
    focus(to);
  });
  return {
    focus,
    focused,
    length: () => options.length,
    lastWords: () => options.at(-1)?.firstElementChild ?? null,
    addLine: (text, classes) => {
      const index = options.length;
      const option = optionOf(text, classes);
      option.tabIndex = index === 0 ? 0 : -1;
      option.addEventListener('focus', () => mark(index));
      option.addEventListener('blur', () => mark(-1));
      markWhilePointedAt(option, index);
      option.addEventListener('click', () => {
        // A click at the end of a selection would lose it.
        if (String(getSelection()) === '') focus(index);
      });
      options.push(option);
      list.append(option);
      list.hidden = false;
      return option;
    },
    addBox: ({ left, top, width, height }) => {
      const index = rects.length;
      const rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
      for (const [name, value] of Object.entries({ x: left, y: top, width, height })) {
        rect.setAttribute(name, String(value));
      }
      markWhilePointedAt(rect, index);
      rect.addEventListener('click', () => focus(index));
      rects.push(rect);
      boxes.append(rect);
    },
    clear: () => {
      list.replaceChildren();
      boxes.replaceChildren();
      [options, rects] = [[], []];
      list.hidden = true;
    },
  };
}

function optionOf(text: string, classes: string): HTMLElement {
  const option = element('div', { classes });
  option.setAttribute('role', 'option');
  option.setAttribute('aria-selected', 'false');
  option.append(element('span', { classes: 'words', text }));
  return option;
}
