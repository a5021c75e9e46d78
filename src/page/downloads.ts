/** A reading as files. */
import type { PageReading } from './reading.js';

interface Download {
  readonly extension: string;
  readonly type: string;
  readonly write: (reading: PageReading) => string;
}

export const downloads: Readonly<Record<string, Download>> = {
  Text: {
    extension: 'txt',
    type: 'text/plain',
    write: ({ text }) => (text === '' ? '' : `${text}\n`),
  },
  JSON: {
    extension: 'json',
    type: 'application/json',
    write: (reading) => `${JSON.stringify(reading, undefined, 2)}\n`,
  },
};

/** Gives the visitor a file. */
export function saveFile(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken hold of the contents by the next turn.
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
