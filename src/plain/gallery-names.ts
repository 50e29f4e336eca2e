/** How the images of an exported page's gallery are named in its address. */

export interface GalleryNames {
  /** Lists may hold images of the same name: all but the first of them are told by their row. */
  nameOf: (row: number) => string;
  /** null: no image has this name. */
  rowOf: (name: string) => number | null;
}

const ROW = /^row:(\d+)$/;

export function galleryNames(images: readonly { name: string }[]): GalleryNames {
  // the page asks on every drawing, of up to hundreds of thousands of images
  const first = new Map<string, number>();
  images.forEach(({ name }, row) => {
    if (!first.has(name)) first.set(name, row);
  });
  return {
    nameOf: (row) => {
      const { name } = images[row]!;
      return first.get(name) === row ? name : `row:${row}`;
    },
    rowOf: (name) => {
      const row = first.get(name) ?? Number(ROW.exec(name)?.[1] ?? NaN);
      return row < images.length ? row : null;
    },
  };
}
