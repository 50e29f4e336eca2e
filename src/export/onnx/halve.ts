/**
 * Weights in 16-bit floats, for half the file: each large one is stored as such and cast to 32 bits where it is used, which
 * runtimes do once, when they load the file. All arithmetic stays in 32 bits.
 */
import { fromTypedArray, scope } from '../../torch/index.js';
import { DataType, type OnnxModel, type OnnxNode, type OnnxTensor } from './proto.js';

/** Smaller ones (biases, norms, constants) are not worth a node, and some of them must stay exact. */
const LEAST_VALUES = 1024;

/** The same model with its large weights in float16; the given one is not changed. */
export function halveOnnx(model: OnnxModel): OnnxModel {
  const casts: OnnxNode[] = [];
  const initializer = model.graph.initializer.map((tensor): OnnxTensor => {
    const { name, dims, dataType, rawData } = tensor;
    if (dataType !== DataType.FLOAT || rawData.length < 4 * LEAST_VALUES) return tensor;
    const half = `${name}_float16`;
    casts.push({
      name: `${half}_cast`,
      opType: 'Cast',
      input: [half],
      output: [name],
      attribute: [{ name: 'to', type: 2, i: DataType.FLOAT }],
    });
    const values = new Float32Array(new Uint8Array(rawData).buffer); // copied, since it may not be aligned
    // the bit patterns: toTypedArray() would widen them again
    const bits = scope(
      () => fromTypedArray(values, [values.length]).to('float16').data().slice() as Uint16Array,
    );
    return {
      name: half,
      dims,
      dataType: DataType.FLOAT16,
      rawData: new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength),
    };
  });
  return { ...model, graph: { ...model.graph, node: [...casts, ...model.graph.node], initializer } };
}
