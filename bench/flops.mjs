/** The matrix products of a training step, for the roofline: their operations, and their shapes. */
const TRANSFORMERS = {
  vit_tiny: { width: 192, depth: 12, heads: 3 },
  vit_small: { width: 384, depth: 12, heads: 6 },
  vit_base: { width: 768, depth: 12, heads: 12 },
  vit_large: { width: 1024, depth: 24, heads: 16 },
};

/**
 * The products of a forward pass of `batch` images: of each (rows, inner) and (inner, columns), `count` of them.
 * `isData`: of two activations, as attention's are, in place of an activation and a weight.
 */
function forward({ width, depth, heads }, patchSize, size, batch, wholeLast) {
  const patches = Math.floor(size / patchSize) ** 2;
  const tokens = patches + 1;
  const rows = batch * tokens;
  const product = (rows, inner, columns, count = 1, isData = false) => ({
    rows,
    inner,
    columns,
    count,
    isData,
  });
  const attention = (queries, count) => [
    product(queries, width / heads, tokens, count * batch * heads, true), // queries by keys
    product(queries, tokens, width / heads, count * batch * heads, true), // weights by values
  ];
  const block = (count) => [
    product(rows, width, 3 * width, count), // queries, keys, values
    product(rows, width, width, count),
    product(rows, width, 4 * width, count),
    product(rows, 4 * width, width, count),
    ...attention(tokens, count),
  ];
  const classToken = [
    product(rows, width, 2 * width), // keys and values of all tokens, the rest for one
    product(batch, width, width, 2),
    product(batch, width, 4 * width),
    product(batch, 4 * width, width),
    ...attention(1, 1),
  ];
  return [
    product(batch * patches, 3 * patchSize ** 2, width),
    ...(wholeLast ? block(depth) : [...block(depth - 1), ...classToken]),
  ];
}

const headProducts = (width, outDim, batch) =>
  [
    [width, 2048],
    [2048, 2048],
    [2048, 256],
    [256, outDim],
  ].map(([inner, columns]) => ({ rows: batch, inner, columns, count: 1, isData: false }));

/**
 * The products of one step, of the forward pass and of the backward pass, which has two for each of the student's; null for a network that
 * is not counted here. The reference computes the last block for all tokens: `wholeLast`.
 */
export function stepProducts(options) {
  const { arch, patchSize, globalSize, localSize, locals, batch, outDim, wholeLast = false } = options;
  const shape = TRANSFORMERS[arch];
  if (shape === undefined) return null;
  const pass = (size, crops) => [
    ...forward(shape, patchSize, size, batch * crops, wholeLast),
    ...headProducts(shape.width, outDim, batch * crops),
  ];
  const large = pass(globalSize, 2);
  const student = [...large, ...pass(localSize, locals)];
  const backward = student.flatMap(({ rows, inner, columns, count, isData }) => [
    { rows, inner: columns, columns: inner, count, isData }, // the gradient of the left operand
    { rows: inner, inner: rows, columns, count, isData }, // of the right one
  ]);
  return [...large, ...student, ...backward];
}

/** Floating-point operations of one step, or null. */
export const stepFlops = (options) =>
  stepProducts(options)?.reduce((sum, p) => sum + 2 * p.rows * p.inner * p.columns * p.count, 0) ?? null;
