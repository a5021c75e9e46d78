/** Labels of this value are not learned (PyTorch's ignore_index). */
export const ignoreIndex = -100;
