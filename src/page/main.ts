/** The page: a picture, and what can be said about it. */
import { messageOf } from '../core/errors.js';
import { createDeviceReader } from './device-client.js';
import { byId, showMessage } from './elements.js';
import { bindPictureInput } from './picture-input.js';
import { bindClassify, bindSearch } from './picture-panels.js';
import { createReadPanel } from './read-panel.js';
import { createServerClient, KeyWantedError } from './server-client.js';
import { bindTabs } from './tabs.js';

const server = createServerClient();
const readOnDevice = createDeviceReader();
const [onServer, onDevice] = ['where-server', 'where-device'].map((id) => byId<HTMLInputElement>(id));
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
const panel = createReadPanel({
  reader: () => (onDevice.checked ? readOnDevice : server.read),
  pictureSize,
  onFailure,
});

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
  void findServer().then(readIfWanted);
});
for (const choice of [onServer, onDevice]) {
  choice.addEventListener('change', () => {
    isRead = false;
    readIfWanted();
  });
}
void findServer();

/** Asks for a key at once where one is wanted. A page of a static host reads on the device, and does nothing else. */
async function findServer(): Promise<void> {
  try {
    const kinds = await server.modelKinds();
    // A server without any is still loading them: it says so when it is asked to read.
    if (kinds?.includes('vary') || kinds?.length === 0) return;
    onServer.disabled = true;
    onDevice.checked = true;
    if (kinds) return;
    for (const id of ['tab-classify', 'tab-search']) byId(id).hidden = true;
  } catch (error) {
    onFailure(error);
    if (!(error instanceof KeyWantedError)) showMessage(failure, messageOf(error));
  }
}

function show(file: File): void {
  picture = file;
  isRead = false;
  panel.clear();
  byId('scores').replaceChildren();
  if (image.src !== '') URL.revokeObjectURL(image.src);
  image.hidden = false;
  image.src = URL.createObjectURL(file);
  byId('file-name').textContent = file.name;
  byId('drop').hidden = true;
  byId('shown').hidden = false;
  void pictureSize();
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
  const { src } = image;
  try {
    await image.decode();
  } catch {
    // Also thrown when another picture takes this one's place.
    if (image.src === src) image.hidden = true;
    return undefined;
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}
