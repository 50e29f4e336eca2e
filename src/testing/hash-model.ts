/** The network of the video fixtures (tools/fixtures/make_video_fixture.py): a hash-filled vision transformer. */
import { VisionTransformer } from '../models/index.js';
import { Model } from '../model.js';
import { hashFill } from './hash-fill.js';

/** As the fixture script writes it. */
export interface NetworkSize {
  patch: number;
  embed_dim: number;
  depth: number;
  num_heads: number;
}

export function hashModel(size: NetworkSize): Model {
  const shape = {
    embedDim: size.embed_dim,
    depth: size.depth,
    numHeads: size.num_heads,
    patchSize: size.patch,
  };
  const backbone = hashFill(new VisionTransformer(shape), 0.04).eval();
  return new Model(backbone, { arch: 'vit', imgSize: 224, ...shape }, 'hash', 'cpu');
}
