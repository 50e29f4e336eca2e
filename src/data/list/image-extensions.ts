/** File names that count as images. */

/** In lower case, with their dots. */
export const IMAGE_EXTENSIONS: readonly string[] = [
  ...['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.avif', '.tif', '.tiff', '.gif'],
  ...['.bmp', '.ppm', '.pgm', '.pbm', '.pnm'],
];

/** Whether a file has the name of an image: 'a.JPG', 'b/c.webp'. */
export const hasImageExtension = (name: string): boolean =>
  IMAGE_EXTENSIONS.includes(/(?<=[^/])\.[^./]*$/.exec(name)?.[0].toLowerCase() ?? '');

/** The formats, for messages. */
export const SUPPORTED = 'JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, PPM and PGM';
