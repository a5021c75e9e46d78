/** What is known of a picture beside its vector. */
export interface PictureInfo {
  /** Within the root of the index, with forward slashes: the picture's name. */
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  /** When the file was last changed, in milliseconds since 1970. */
  readonly modified: number;
  readonly sha256: string;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
}
