/**
 * Trains a custom backbone with DINO, and uses it:
 *
 *   node examples/own-backbone.mjs PHOTOS RUN [setting=value ...]
 *
 * A backbone is a Module with an embedDim whose forward() returns one feature per image. Its fields name its state.
 */
import { Backbone, gatherFacts, listImages, loadModel, machineFacts, resolveSettings, train } from 'dino-ts';
import { BatchNorm, Conv2d } from 'dino-ts/nn';

/** Three convolutions and a mean: a network for very small pictures. */
class SmallNet extends Backbone {
  embedDim = 48;
  conv1 = new Conv2d(3, 16, 3, { stride: 2, padding: 1, bias: false });
  bn1 = new BatchNorm(16);
  conv2 = new Conv2d(16, 32, 3, { stride: 2, padding: 1, bias: false });
  bn2 = new BatchNorm(32);
  conv3 = new Conv2d(32, this.embedDim, 3, { stride: 2, padding: 1 });

  /** (B, 3, H, W) to (B, 48). */
  forward(images) {
    const first = this.bn1.forward(this.conv1.forward(images)).relu(); // (B, 16, H / 2, W / 2)
    const second = this.bn2.forward(this.conv2.forward(first)).relu(); // (B, 32, H / 4, W / 4)
    return this.conv3.forward(second).mean([2, 3]); // (B, 48)
  }
}

const [folder, run, ...pairs] = process.argv.slice(2);
if (!folder || !run) throw new Error('usage: own-backbone.mjs PHOTOS RUN [setting=value ...]');

const images = await listImages(folder);
const facts = await gatherFacts(
  images.items.map(({ path }) => path),
  machineFacts('cpu'),
);
const flags = { ...Object.fromEntries(pairs.map((pair) => pair.split('='))), arch: 'custom' };
const { settings } = resolveSettings({ preset: 'auto', flags, facts });

const backbone = () => new SmallNet(); // receives all settings, in case it needs some
const { steps } = await train({ images, output: run, settings, backbone });

const model = loadModel(run, { backbone });
const { shape } = await model.embed(images);
console.log(JSON.stringify({ steps, shape, arch: model.architecture.arch }));
model.dispose();
