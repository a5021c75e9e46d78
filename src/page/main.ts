/** The page: a picture, and what can be said about it. */
import { messageOf } from '../core/errors.js';
import { byId, showMessage } from './elements.js';
import { bindPictureInput } from './picture-input.js';
import { bindClassify, bindSearch } from './picture-panels.js';
import { createReadPanel } from './read-panel.js';
import { createServerClient, KeyWantedError } from './server-client.js';
import { bindTabs } from './tabs.js';

const server = createServerClient();
const image = byId<HTMLImageElement>('image');
const failure = byId('read-error');
const keyForm = byId<HTMLFormElement>('key-form');
let picture: File | undefined;
let tab = 'tab-read';
let isRead = false;

const onFailure = (error: unknown) => {
  if (!(error instanceof KeyWantedError)) return;
  keyForm.hidden = false;
  byId('key').focus();
};
const panel = createReadPanel({ reader: () => server.read, pictureSize, onFailure });

bindPictureInput(byId<HTMLInputElement>('file'), show, (why) => showMessage(failure, why));
bindTabs([...document.querySelectorAll<HTMLElement>('[role="tab"]')], (chosen) => {
  tab = chosen;
  readIfWanted();
});
bindClassify({ server, picture: () => picture, onFailure });
bindSearch({ server, picture: () => picture, onFailure });
keyForm.addEventListener('submit', (event) => {
  event.preventDefault();
  server.useKey(byId<HTMLInputElement>('key').value);
  keyForm.hidden = true;
  isRead = false;
  findServer();
  readIfWanted();
});
for (const choice of document.querySelectorAll('input[name="where"]')) {
  choice.addEventListener('change', () => {
    isRead = false;
    readIfWanted();
  });
}
findServer();

/** Asks for a key at once where one is wanted. */
function findServer(): void {
  server.modelKinds().catch((error: unknown) => {
    onFailure(error);
    if (!(error instanceof KeyWantedError)) showMessage(failure, messageOf(error));
  });
}

function show(file: File): void {
  picture = file;
  isRead = false;
  if (image.src !== '') URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  byId('file-name').textContent = file.name;
  byId('drop').hidden = true;
  byId('shown').hidden = false;
  readIfWanted();
}

/** A picture is read when the tab for it is open. */
function readIfWanted(): void {
  if (!picture || isRead || tab !== 'tab-read') return;
  isRead = true;
  void panel.read(picture);
}

/** Waits for the browser; some files are read by a server and not shown by a browser. */
async function pictureSize(): Promise<{ width: number; height: number } | undefined> {
  try {
    await image.decode();
  } catch {
    return undefined;
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}
