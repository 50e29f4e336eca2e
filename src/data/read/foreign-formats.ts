/** Names of the files that lie among images and are not read, by their first bytes. */

/** The file begins with `start` (at `at`); each character is a byte. */
type Start = readonly [name: string, start: string, at?: number];

const STARTS: readonly Start[] = [
  ...['ftypheic', 'ftypheix', 'ftyphevc', 'ftyphevx', 'ftypheim', 'ftypheis', 'ftypmif1', 'ftypmsf1'].map(
    (brand): Start => ['HEIC (HEIF)', brand, 4],
  ),
  ['JPEG XL', '\xff\x0a'],
  ['JPEG XL', '\0\0\0\x0cJXL \r\n\x87\n'],
  ['JPEG 2000', '\0\0\0\x0cjP  \r\n\x87\n'],
  ['JPEG 2000', '\xff\x4f\xff\x51'],
  ['JPEG XR', 'II\xbc\x01'],
  ['JPEG XR', 'II\xbc\0'],
  ['Photoshop (PSD)', '8BPS'],
  ['GIMP (XCF)', 'gimp xcf'],
  ['ICO', '\0\0\x01\0'],
  ['CUR', '\0\0\x02\0'],
  ['ICNS', 'icns'],
  ['QOI', 'qoif'],
  ['DDS', 'DDS '],
  ['OpenEXR', 'v/1\x01'],
  ['Radiance HDR', '#?RADIANCE'],
  ['Radiance HDR', '#?RGBE'],
  ['SGI', '\x01\xda'],
  ['Sun raster', 'Y\xa6j\x95'],
  ['PCX', '\n\x05\x01'],
  ['PCX', '\n\x03\x01'],
  ['BPG', 'BPG\xfb'],
  ['FLIF', 'FLIF'],
  ['MNG', '\x8aMNG'],
  ['JNG', '\x8bJNG'],
  ['FITS', 'SIMPLE  ='],
  ['PAM (P7)', 'P7\n'],
  ['PFM', 'PF\n'],
  ['PFM', 'Pf\n'],
  ['XPM', '/* XPM */'],
  ['DjVu', 'AT&TFORM'],
  ['a Windows metafile (WMF)', '\xd7\xcd\xc6\x9a'],
  ['Canon camera raw (CR3)', 'ftypcrx ', 4],
  ['Fujifilm camera raw (RAF)', 'FUJIFILMCCD-RAW'],
  ['Olympus camera raw (ORF)', 'IIRO'],
  ['Olympus camera raw (ORF)', 'IIRS'],
  ['Panasonic camera raw (RW2)', 'IIU\0'],
  ['DICOM', 'DICM', 128],
  ['PDF', '%PDF'],
  ['PostScript', '%!PS'],
  ['PostScript (EPS)', '\xc5\xd0\xd3\xc6'],
  ['an MP4 or QuickTime video', 'ftyp', 4],
  ['a WebM or Matroska video', '\x1aE\xdf\xa3'],
  ['an AVI video', 'AVI ', 8],
  ['a ZIP archive', 'PK\x03\x04'],
  ['a gzip archive', '\x1f\x8b'],
  ['HDF5', '\x89HDF\r\n'],
  ['a NumPy array', '\x93NUMPY'],
  ['a Git LFS pointer (the file itself has not been downloaded: git lfs pull)', 'version https://git-lfs'],
  ['an AppleDouble file (what macOS keeps beside a file, not the file)', '\0\x05\x16\x07'],
];

/** A text's first tag or line. */
const TEXTS: readonly (readonly [string, RegExp])[] = [
  ['SVG', /^\s*(?:<\?xml[^>]*>\s*)?(?:<!--[^>]*-->\s*)?(?:<!DOCTYPE\s+)?<?svg[\s>]/i],
  ['a HTML page', /^\s*(?:<!doctype html|<html)/i],
  ['XML', /^\s*<\?xml/],
];

/** What a file is, when it is something well known; null for all else. The first 132 bytes are enough. */
export function foreignFormat(bytes: Uint8Array): string | null {
  const text = Buffer.from(bytes.subarray(0, 132)).toString('latin1');
  const found = STARTS.find(([, start, at = 0]) => text.startsWith(start, at));
  return found?.[0] ?? TEXTS.find(([, start]) => start.test(text))?.[0] ?? null;
}
