/**
 * Dynamic quantization to 8 bits: each matrix product with a weight becomes DynamicQuantizeLinear (activations, one range
 * per tensor, found at run time) and MatMulInteger (weights, one range per column), as onnxruntime's quantize_dynamic does.
 * Everything else stays float.
 *
 * Weights are unsigned with their zero at 128: with signed ones, processors without VNNI add two products in 16 bits,
 * which saturates.
 */
import { onnxTensor } from './graph-builder.js';
import type { OnnxModel, OnnxNode, OnnxTensor } from './proto.js';

const ZERO = 128;
/** Largest distance from the zero that is used, so that both signs have the same range. */
const LIMIT = 127;
/** TensorProto.DataType.FLOAT */
const FLOAT = 1;

interface QuantizedWeight {
  values: OnnxTensor;
  scale: OnnxTensor;
  zero: OnnxTensor;
}

/** (in, out) floats to bytes with a scale for each column. */
function quantizeWeight({ name, dims, rawData }: OnnxTensor): QuantizedWeight {
  const [, columns = 0] = dims;
  const values = new Float32Array(new Uint8Array(rawData).buffer); // copied, since it may not be aligned
  const scale = new Float32Array(columns);
  for (let i = 0; i < values.length; i++) {
    const column = i % columns;
    scale[column] = Math.max(scale[column]!, Math.abs(values[i]!));
  }
  for (let column = 0; column < columns; column++) scale[column] = scale[column]! / LIMIT || 1;
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) bytes[i] = ZERO + Math.round(values[i]! / scale[i % columns]!);
  return {
    values: onnxTensor(`${name}_quantized`, dims, bytes),
    scale: onnxTensor(`${name}_scale`, [columns], scale),
    zero: onnxTensor(`${name}_zero_point`, [columns], new Uint8Array(columns).fill(ZERO)),
  };
}

/**
 * The same model with its matrices in 8 bits; the given one is not changed.
 * @returns null when it multiplies by no matrix of weights, as a ResNet, whose weights are those of convolutions.
 */
export function quantizeOnnx(model: OnnxModel): OnnxModel | null {
  const weights = new Map(model.graph.initializer.map((tensor) => [tensor.name, tensor]));
  const activations = new Map<string, { value: string; scale: string; zero: string }>();
  const nodes: OnnxNode[] = [];
  const add = (opType: string, name: string, input: string[], output: string[], to?: number): void => {
    const attribute = to === undefined ? [] : [{ name: 'to', type: 2, i: to }];
    nodes.push({ name, opType, input, output, attribute });
  };
  for (const node of model.graph.node) {
    const [left = '', right = ''] = node.input;
    const weight = node.opType === 'MatMul' ? weights.get(right) : undefined;
    if (weight?.dataType !== FLOAT || weight.dims.length !== 2) {
      nodes.push(node);
      continue;
    }
    let activation = activations.get(left);
    if (activation === undefined) {
      const name = `${node.name}_input`;
      activation = { value: `${name}_quantized`, scale: `${name}_scale`, zero: `${name}_zero_point` };
      add('DynamicQuantizeLinear', `${name}_DynamicQuantizeLinear`, [left], Object.values(activation));
      activations.set(left, activation);
    }
    const { values, scale, zero } = quantizeWeight(weight);
    weights.delete(right);
    for (const tensor of [values, scale, zero]) weights.set(tensor.name, tensor);
    const { name } = node;
    add(
      'MatMulInteger',
      `${name}_integer`,
      [activation.value, values.name, activation.zero, zero.name],
      [`${name}_int32`],
    );
    add('Cast', `${name}_cast`, [`${name}_int32`], [`${name}_float`], FLOAT);
    add('Mul', `${name}_scales`, [activation.scale, scale.name], [`${name}_scale`]);
    add('Mul', name, [`${name}_float`, `${name}_scale`], node.output);
  }
  if (activations.size === 0) return null;
  return {
    ...model,
    graph: { ...model.graph, node: nodes, initializer: [...weights.values()] },
  };
}
