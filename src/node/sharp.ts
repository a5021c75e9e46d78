import type sharp from 'sharp';

let loading: Promise<typeof sharp> | undefined;

/** sharp, which keeps nothing of what it decoded; loaded when the first image needs it. */
export function loadSharp(): Promise<typeof sharp> {
  loading ??= import('sharp').then((module) => {
    module.default.cache(false);
    return module.default;
  });
  return loading;
}
