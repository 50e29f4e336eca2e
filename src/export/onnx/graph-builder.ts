/** Builds a graph: each call adds a node or a constant and returns the name of its value. */
import {
  AttributeType,
  DataType,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValue,
} from './proto.js';

/** A whole number is an INT, one with `float()` around it a FLOAT. */
export type AttributeValue = number | string | readonly number[] | { float: number };

export const float = (value: number): { float: number } => ({ float: value });

/** A dimension: its length, or a name when it varies. */
export type Dimension = number | string;

function attribute(name: string, value: AttributeValue): OnnxAttribute {
  if (typeof value === 'number') return { name, type: AttributeType.INT, i: value };
  if (typeof value === 'string') {
    return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) };
  }
  if ('float' in value) return { name, type: AttributeType.FLOAT, f: value.float };
  return { name, type: AttributeType.INTS, ints: [...value] };
}

/** Bytes of a typed array, without a copy. */
const bytesOf = ({ buffer, byteOffset, byteLength }: NodeJS.TypedArray): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

export function onnxTensor(
  name: string,
  dims: readonly number[],
  data: Float32Array | BigInt64Array | Uint8Array,
): OnnxTensor {
  const dataType =
    data instanceof Float32Array
      ? DataType.FLOAT
      : data instanceof BigInt64Array
        ? DataType.INT64
        : DataType.UINT8;
  return { name, dims: [...dims], dataType, rawData: bytesOf(data) };
}

export function onnxValue(
  name: string,
  dims: readonly Dimension[],
  docString: string,
  elemType: number = DataType.FLOAT,
): OnnxValue {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, docString, type: { tensorType: { elemType, shape: { dim } } } };
}

export class GraphBuilder {
  readonly #nodes: OnnxNode[] = [];
  readonly #initializers = new Map<string, OnnxTensor>();
  readonly #inputs: OnnxValue[] = [];
  readonly #outputs: OnnxValue[] = [];
  #scope = '';

  /** Prefixes the names of what `body` adds with `name`. */
  within<T>(name: string, body: () => T): T {
    const outer = this.#scope;
    this.#scope = `${outer}${name}/`;
    try {
      return body();
    } finally {
      this.#scope = outer;
    }
  }

  /** A node with one output. `output` names it; else it is named after the node. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    output?: string,
  ): string {
    const name = `${this.#scope}${opType}_${this.#nodes.length}`;
    const value = output ?? `${name}_output`;
    this.#nodes.push({
      name,
      opType,
      input: [...inputs],
      output: [value],
      attribute: Object.entries(attributes).map(([key, given]) => attribute(key, given)),
    });
    return value;
  }

  /** A tensor of the model, kept under its own name. */
  weight(name: string, dims: readonly number[], data: Float32Array): string {
    this.#initializers.set(name, onnxTensor(name, dims, data));
    return name;
  }

  /** Whole numbers, (n); equal ones are stored once. */
  ints(...values: number[]): string {
    return this.#constant(`ints_${values.join('_')}`, [values.length], BigInt64Array.from(values, BigInt));
  }

  /** One whole number without a dimension. */
  int(value: number): string {
    return this.#constant(`int_${value}`, [], BigInt64Array.of(BigInt(value)));
  }

  /** One float without a dimension. */
  float(value: number): string {
    return this.#constant(`float_${value}`, [], Float32Array.of(value));
  }

  #constant(name: string, dims: readonly number[], data: Float32Array | BigInt64Array): string {
    if (!this.#initializers.has(name)) this.#initializers.set(name, onnxTensor(name, dims, data));
    return name;
  }

  input(name: string, dims: readonly Dimension[], docString: string): string {
    this.#inputs.push(onnxValue(name, dims, docString));
    return name;
  }

  output(name: string, dims: readonly Dimension[], docString: string): void {
    this.#outputs.push(onnxValue(name, dims, docString));
  }

  build(name: string): OnnxGraph {
    return {
      name,
      node: this.#nodes,
      initializer: [...this.#initializers.values()],
      input: this.#inputs,
      output: this.#outputs,
    };
  }
}
