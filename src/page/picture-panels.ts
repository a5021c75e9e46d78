/** Classifying the picture and searching with it. */
import { InputError, messageOf } from '../core/errors.js';
import { byId, element, showMessage } from './elements.js';
import type { ServerClient } from './server-client.js';

export interface PicturePanelOptions {
  readonly server: ServerClient;
  readonly picture: () => File | undefined;
  readonly onFailure: (error: unknown) => void;
}

export function bindClassify({ server, picture, onFailure }: PicturePanelOptions): void {
  const scores = byId('scores');
  bindForm('classify', onFailure, async () => {
    const labels = byId<HTMLTextAreaElement>('labels')
      .value.split('\n')
      .flatMap((line) => line.trim() || []);
    const file = picture();
    if (!file) throw new InputError('there is no picture yet: drop, paste or choose one');
    if (labels.length === 0) throw new InputError('write what the picture might be, one a line');
    const ranked = await server.classify(file, labels);
    scores.replaceChildren(...ranked.map(({ label, score }) => scoredItem(label, score, percent(score))));
  });
}

export function bindSearch({ server, picture, onFailure }: PicturePanelOptions): void {
  const hits = byId('hits');
  bindForm('search', onFailure, async () => {
    const text = byId<HTMLInputElement>('query').value.trim();
    const image = byId<HTMLInputElement>('like').checked ? picture() : undefined;
    if (text === '' && !image) throw new InputError('write what to look for, or look for pictures like the one shown');
    const found = await server.search({ ...(text !== '' && { text }), ...(image && { image }) });
    hits.replaceChildren(...found.map(({ path, score }) => scoredItem(path, score, score.toFixed(3))));
    if (found.length === 0) throw new InputError('nothing was found');
  });
}

function bindForm(name: string, onFailure: (error: unknown) => void, run: () => Promise<void>): void {
  const form = byId<HTMLFormElement>(`${name}-form`);
  const failure = byId(`${name}-error`);
  const button = form.querySelector('button');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    showMessage(failure, '');
    if (button) button.disabled = true;
    try {
      await run();
    } catch (error) {
      showMessage(failure, messageOf(error));
      onFailure(error);
    } finally {
      if (button) button.disabled = false;
    }
  });
}

const percent = (score: number) => `${(100 * score).toFixed(1)} %`;

function scoredItem(text: string, score: number, shown: string): HTMLElement {
  const item = element('li');
  const meter = element('meter');
  [meter.min, meter.max, meter.value] = [0, 1, score];
  meter.setAttribute('aria-hidden', 'true');
  item.append(element('span', { text }), meter, element('span', { classes: 'sure', text: shown }));
  return item;
}
