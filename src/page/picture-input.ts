/** Where pictures come from: dropped anywhere, pasted, or chosen. */
export function bindPictureInput(
  input: HTMLInputElement,
  onPicture: (file: File) => void,
  onNothing: (why: string) => void,
): void {
  const take = (files: Iterable<File>) => {
    const [file] = files;
    if (file) onPicture(file);
    else onNothing('that was no picture: drop or paste an image file');
  };
  input.addEventListener('change', () => {
    if (input.files && input.files.length > 0) take(input.files);
    // The same file can be chosen again.
    input.value = '';
  });
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('over');
  });
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) document.body.classList.remove('over');
  });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('over');
    take(event.dataTransfer?.files ?? []);
  });
  document.addEventListener('paste', (event) => {
    const files = event.clipboardData?.files ?? [];
    // Text that is pasted into a field is none of ours.
    if (files.length > 0) take(files);
  });
}
