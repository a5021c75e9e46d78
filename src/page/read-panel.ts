/** Reading: one picture at a time, a new one ends the one before. */
import { messageOf } from '../core/errors.js';
import { downloads, type ReadDocument, saveFile, writeDocument } from './downloads.js';
import { byId, element, showMessage } from './elements.js';
import type { PageReading, ReadPicture } from './reading.js';
import { createTextView } from './text-view.js';

export interface ReadPanelOptions {
  /** How to read, asked at every picture. */
  readonly reader: () => ReadPicture;
  /** The picture's size; undefined where the browser cannot show it. */
  readonly pictureSize: () => Promise<{ readonly width: number; readonly height: number } | undefined>;
  readonly onFailure: (error: unknown) => void;
}

export interface ReadPanel {
  read(file: File): Promise<void>;
  /** Ends what is being read, and shows nothing. */
  clear(): void;
}

export function createReadPanel({ reader, pictureSize, onFailure }: ReadPanelOptions): ReadPanel {
  const view = createTextView({ list: byId('text'), boxes: byId<SVGSVGElement>('boxes') });
  const [status, failure, hint, stop] = ['read-status', 'read-error', 'read-hint', 'stop'].map((id) => byId(id));
  let running: AbortController | undefined;
  const results = bindResults(status);
  stop.addEventListener('click', () => running?.abort());
  const readNow = async (file: File, signal: AbortSignal) => {
    const begun = performance.now();
    const reading = await reader()({
      file,
      signal,
      onStage: (stage) => {
        if (!signal.aborted) status.textContent = stage;
      },
      onText: (text) => {
        if (!signal.aborted) view.append(text);
      },
    });
    const size = await pictureSize();
    if (signal.aborted) return;
    view.finish(reading, size);
    results.offer({ reading, name: file.name, size: size ?? { width: 0, height: 0 } });
    status.textContent = summaryOf(reading, (performance.now() - begun) / 1000);
  };
  const clear = () => {
    running?.abort();
    running = undefined;
    view.clear();
    results.withdraw();
    showMessage(failure, '');
    status.textContent = '';
    [hint.hidden, stop.hidden] = [false, true];
  };
  return {
    clear,
    read: async (file) => {
      clear();
      const own = new AbortController();
      running = own;
      [hint.hidden, stop.hidden] = [true, false];
      try {
        await readNow(file, own.signal);
      } catch (error) {
        if (running !== own) return;
        status.textContent = own.signal.aborted ? 'Stopped.' : '';
        if (own.signal.aborted) return;
        showMessage(failure, messageOf(error));
        onFailure(error);
      } finally {
        if (running === own) stop.hidden = true;
      }
    },
  };
}

function summaryOf({ lines, text, warnings }: PageReading, seconds: number): string {
  const what = lines.length > 0 ? plural(lines.length, 'line') : plural(text.length, 'character');
  return [`${what} in ${seconds.toFixed(1)} s`, ...warnings].join(' · ');
}

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Copying and downloading what was read. */
function bindResults(status: HTMLElement) {
  const [copy, save] = ['copy', 'download'].map((id) => byId<HTMLButtonElement>(id));
  const format = byId<HTMLSelectElement>('format');
  format.append(...Object.keys(downloads).map((name) => element('option', { text: name })));
  let offered: ReadDocument | undefined;
  const enable = (able: boolean) => {
    for (const control of [copy, save, format]) control.disabled = !able;
  };
  const chosen = () => {
    if (!offered) return undefined;
    const download = downloads[format.value];
    const base = offered.name.replace(/\.[^.]*$/, '') || 'picture';
    const { extension } = download.format;
    return { name: `${base}.${extension}`, type: download.type, text: writeDocument(download, offered) };
  };
  copy.addEventListener('click', async () => {
    const file = chosen();
    if (!file) return;
    try {
      await navigator.clipboard.writeText(file.text);
      status.textContent = 'Copied.';
    } catch {
      status.textContent = 'This browser does not let a page copy here: download the text, or mark it and copy it.';
    }
  });
  save.addEventListener('click', () => {
    const file = chosen();
    if (file) saveFile(file.name, file.type, file.text);
  });
  return {
    offer: (document: ReadDocument) => {
      offered = document;
      enable(true);
    },
    withdraw: () => {
      offered = undefined;
      enable(false);
    },
  };
}
