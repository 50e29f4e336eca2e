/**
 * The class token's feature of an image with onnxruntime, from a file written by `dino export --format onnx`:
 *
 *   node examples/onnx.mjs MODEL.onnx SIDE IMAGE
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';

const [file, given, image] = process.argv.slice(2);
const side = Number(given); // the size that the file was made for
if (!image) throw new Error('usage: onnx.mjs MODEL.onnx SIDE IMAGE');

const rgb = await sharp(image).resize(side, side, { fit: 'cover' }).removeAlpha().raw().toBuffer(); // (H, W, 3)
const mean = [0.485, 0.456, 0.406];
const deviation = [0.229, 0.224, 0.225];
const pixels = new Float32Array(rgb.length); // (3, H, W)
for (let i = 0; i < side * side; i++) {
  for (let c = 0; c < 3; c++) pixels[c * side * side + i] = (rgb[i * 3 + c] / 255 - mean[c]) / deviation[c];
}

const session = await InferenceSession.create(file);
const { class_token: feature } = await session.run({
  pixel_values: new Tensor('float32', pixels, [1, 3, side, side]),
});
console.log(JSON.stringify({ image, feature: [...feature.data] }));
