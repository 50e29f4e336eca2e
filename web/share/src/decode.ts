/** An image as the model's features are made of it: as src/data/read/decode.ts decodes one. */

export interface Pixels {
  /** (height, width, 3) */
  rgb: Uint8Array<ArrayBuffer>;
  width: number;
  height: number;
}

type Rgba = Uint8Array | Uint8ClampedArray;

/**
 * The colours of a bitmap as its file has them, also where it is transparent; null where the browser does not give them. A 2D
 * canvas stores colours multiplied by their alpha: black where nothing of them is seen, and rounded elsewhere.
 */
function ownColours(bitmap: ImageBitmap): Rgba | null {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (gl === null) return null;
  try {
    if (Math.max(width, height) > (gl.getParameter(gl.MAX_TEXTURE_SIZE) as number)) return null;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) return null;
    const data = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
    return gl.getError() === gl.NO_ERROR ? data : null;
  } finally {
    // a browser has few contexts
    gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}

function isTransparent(data: Rgba): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return true;
  return false;
}

/** Orientation applied, colour profiles ignored, alpha dropped. */
export async function decode(image: Blob): Promise<Pixels> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(image, {
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
      imageOrientation: 'from-image',
    });
  } catch {
    throw new Error('This is not an image that the browser can decode.');
  }
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (context === null) throw new Error(`An image of ${width} x ${height} is too large for this browser.`);
    context.drawImage(bitmap, 0, 0);
    const { data: drawn } = context.getImageData(0, 0, width, height);
    const data = (isTransparent(drawn) ? ownColours(bitmap) : null) ?? drawn;
    const rgb = new Uint8Array(width * height * 3);
    for (let i = 0, j = 0; j < rgb.length; i += 4, j += 3) {
      rgb[j] = data[i]!;
      rgb[j + 1] = data[i + 1]!;
      rgb[j + 2] = data[i + 2]!;
    }
    return { rgb, width, height };
  } finally {
    bitmap.close();
  }
}
