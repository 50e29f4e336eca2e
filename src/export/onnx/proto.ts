/**
 * ONNX's messages: a model as plain objects, and its bytes by ONNX's own published schema (vendor/onnx/onnx.proto), which
 * protobufjs reads at run time. Only the fields that we write have types here.
 */
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { gibibytes } from '../../plain/units.js';
import { CheckpointError } from '../../errors.js';

/** TensorProto.DataType. */
export const DataType = { FLOAT: 1, UINT8: 2, INT32: 6, INT64: 7, FLOAT16: 10 } as const;
/** AttributeProto.AttributeType. */
export const AttributeType = { FLOAT: 1, INT: 2, STRING: 3, FLOATS: 6, INTS: 7 } as const;

export interface OnnxTensor {
  name: string;
  /** Length of each dimension. */
  dims: number[];
  dataType: number;
  /** Little-endian, row-major. */
  rawData: Uint8Array;
}

export interface OnnxAttribute {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  floats?: number[];
  ints?: number[];
}

export interface OnnxNode {
  name: string;
  opType: string;
  /** '' for an omitted optional input. */
  input: string[];
  output: string[];
  attribute: OnnxAttribute[];
}

export interface OnnxValue {
  name: string;
  docString?: string;
  type: { tensorType: { elemType: number; shape: { dim: ({ dimValue: number } | { dimParam: string })[] } } };
}

export interface OnnxGraph {
  name: string;
  node: OnnxNode[];
  initializer: OnnxTensor[];
  input: OnnxValue[];
  output: OnnxValue[];
}

export interface OnnxModel {
  irVersion: number;
  producerName: string;
  producerVersion: string;
  docString: string;
  opsetImport: { domain: string; version: number }[];
  graph: OnnxGraph;
  metadataProps: { key: string; value: string }[];
}

let schema: protobuf.Type | undefined;

function modelProto(): protobuf.Type {
  const file = new URL('../../../vendor/onnx/onnx.proto', import.meta.url);
  schema ??= protobuf.parse(readFileSync(file, 'utf8')).root.lookupType('onnx.ModelProto');
  return schema;
}

/** The most bytes of a protobuf message; larger models would need their weights in separate files. */
const MAX_MESSAGE_BYTES = 2 ** 31 - 1;

/** @throws CheckpointError above 2 GiB, protobuf's limit. */
export function encodeModel(model: OnnxModel): Uint8Array {
  const weights = model.graph.initializer.reduce((sum, { rawData }) => sum + rawData.length, 0);
  if (weights > MAX_MESSAGE_BYTES - 2 ** 24) {
    throw new CheckpointError(`the weights are ${gibibytes(weights)}; an ONNX file holds no more than 2 GiB`);
  }
  const type = modelProto();
  const problem = type.verify(model);
  if (problem !== null) throw new Error(`internal: not an ONNX model: ${problem}`);
  return type.encode(model).finish();
}

/** Reads a model's bytes. @throws CheckpointError when they are not an ONNX model. */
export function decodeModel(bytes: Uint8Array): OnnxModel {
  const type = modelProto();
  try {
    const options = { longs: Number, arrays: true } as const;
    return type.toObject(type.decode(bytes), options) as OnnxModel;
  } catch (error) {
    throw new CheckpointError(`not an ONNX model: ${(error as Error).message}`, { cause: error });
  }
}
