/** Operations of a training step, for the roofline: the time its matrix products alone would take at the measured rate. */
const TRANSFORMERS = {
  vit_tiny: { width: 192, depth: 12 },
  vit_small: { width: 384, depth: 12 },
  vit_base: { width: 768, depth: 12 },
  vit_large: { width: 1024, depth: 24 },
};

/** Multiply-adds of one image's forward pass. */
function forward({ width, depth }, patchSize, size, wholeLast) {
  const patches = Math.floor(size / patchSize) ** 2;
  const tokens = patches + 1;
  const embedding = patches * 3 * patchSize ** 2 * width;
  const linear = tokens * 12 * width ** 2; // qkv 3, projection 1, perceptron 8
  const attention = 2 * tokens ** 2 * width; // queries by keys, weights by values
  // of the last block only the class token is needed: keys and values of all tokens, the rest for one
  const last = wholeLast ? linear + attention : (tokens * 2 + 10) * width ** 2 + 2 * tokens * width;
  return embedding + (depth - 1) * (linear + attention) + last;
}

/**
 * Floating-point operations of one step; null for a network that is not counted here. The reference computes the last block
 * for all tokens: `wholeLast`.
 */
export function stepFlops(options) {
  const { arch, patchSize, globalSize, localSize, locals, batch, outDim, wholeLast = false } = options;
  const shape = TRANSFORMERS[arch];
  if (shape === undefined) return null;
  const head = shape.width * 2048 + 2048 * 2048 + 2048 * 256 + 256 * outDim;
  const [large, small] = [globalSize, localSize].map(
    (size) => forward(shape, patchSize, size, wholeLast) + head,
  );
  const student = 2 * large + locals * small;
  const teacher = 2 * large;
  return 2 * batch * (3 * student + teacher); // the backward pass has two products for each one of the forward pass
}
