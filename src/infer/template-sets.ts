/**
 * Ways to speak of a picture, for prompt ensembling: the embeddings of a label in all of them are averaged. In the manner of
 * CLIP's templates for ImageNet (arXiv 2103.00020, section 3.1.4), worded here.
 */
export const templateSets: Readonly<Record<string, readonly string[]>> = {
  photo: ['a photo of a {}.'],
  photos: [
    'a photo of a {}.',
    'a photo of the {}.',
    'a close-up photo of a {}.',
    'a bright photo of a {}.',
    'a dark photo of a {}.',
    'a blurry photo of a {}.',
    'a cropped photo of a {}.',
    'a black and white photo of a {}.',
    'a low resolution photo of a {}.',
    'a photo of a small {}.',
    'a photo of a large {}.',
    'a photo of many {}.',
    'a photo of one {}.',
    'a photo of a {} from far away.',
    'a photo of a {} in front of a plain background.',
    'a snapshot of my {}.',
  ],
  pictures: [
    'a photo of a {}.',
    'a picture of a {}.',
    'a drawing of a {}.',
    'a painting of a {}.',
    'a sketch of a {}.',
    'a cartoon of a {}.',
    'an icon of a {}.',
    'a symbol of a {}.',
    'a sculpture of a {}.',
    'a toy {}.',
    'a {} in a video game.',
    'a computer graphic of a {}.',
  ],
  icons: [
    'an icon of a {}.',
    'an emoji of a {}.',
    'a symbol of a {}.',
    'a pictogram of a {}.',
    'a {} on a plain background.',
  ],
  scans: ['a scan of a {}.', 'a page with a {}.', 'a scanned document: {}.', 'a photo of a printed {}.'],
};
