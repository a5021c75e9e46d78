/** The few things the page does with the document. Text goes in as text, never as HTML. */

/** The element of the page's own HTML with this id. */
export function byId<E extends Element = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found as unknown as E;
}

/** A new element with classes and text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { classes = '', text = '' }: { readonly classes?: string; readonly text?: string } = {},
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (classes !== '') made.className = classes;
  made.textContent = text;
  return made;
}

/** Shows a message in an element that is hidden without one. */
export function showMessage(target: HTMLElement, message: string): void {
  target.textContent = message;
  target.hidden = message === '';
}
