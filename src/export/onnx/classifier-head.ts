/** A classifier's head as ONNX nodes: what src/plain/classifier-head.ts computes, from features to probabilities. */
import { ConfigError } from '../../errors.js';
import type { ClassifierHead, LinearHead } from '../../plain/classifier-head.js';
import type { GraphBuilder } from './graph-builder.js';

/** The head, where another program can compute it. @throws ConfigError where it can't. */
export function linearHead({
  head,
  takes,
}: {
  head: ClassifierHead;
  takes: { readonly layers: number };
}): LinearHead {
  const problems: string[] = [];
  if (head.kind !== 'logistic')
    problems.push('only logistic regression can be exported: fit the classifier with --method logistic');
  if (takes.layers > 1)
    problems.push(
      `features of ${takes.layers} layers can't be exported: fit the classifier to those of one, with --layers 1`,
    );
  if (problems.length > 0 || head.kind !== 'logistic') throw new ConfigError(problems);
  return head;
}

/** (rows, columns) to (columns, rows), each value over a divisor. */
function transposed(values: Float32Array, rows: number, columns: number, divisor = 1): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]! / divisor;
  return out;
}

/** Rows of length 1, (B, D). */
function unitLength(graph: GraphBuilder, x: string): string {
  const length = graph.node('ReduceL2', [x], { axes: [-1], keepdims: 1 }); // (B, 1)
  return graph.node('Div', [x, graph.node('Max', [length, graph.float(1e-12)])]);
}

/**
 * Adds the output `output`, (B, classes): probabilities, which sum to 1.
 * @param feature - (B, D) as the network gives it.
 */
export function addClassifierHead(
  graph: GraphBuilder,
  feature: string,
  head: LinearHead,
  output: string,
): void {
  const { classes, weight, bias, temperature, transform } = head;
  const size = classes.length;
  const width = weight.length / size;
  graph.within('classifier', () => {
    let x = feature;
    if (transform !== null) {
      const { mean, matrix } = transform;
      x = unitLength(graph, x);
      if (mean !== null) x = graph.node('Sub', [x, graph.weight('classifier.mean', [width], mean)]);
      if (matrix !== null) {
        const values = transposed(matrix, width, width);
        x = graph.node('MatMul', [x, graph.weight('classifier.matrix', [width, width], values)]);
      }
      if (mean !== null) x = unitLength(graph, x);
    }
    const values = transposed(weight, size, width, temperature); // the temperature is in the weights
    const matrix = graph.weight('classifier.weight', [width, size], values);
    const offset = graph.weight(
      'classifier.bias',
      [size],
      bias.map((value) => value / temperature),
    );
    const logits = graph.node('Add', [graph.node('MatMul', [x, matrix]), offset]);
    graph.node('Softmax', [logits], { axis: -1 }, output);
  });
  graph.output(output, ['batch', size], 'the probability of each class; they sum to 1');
}

/** The mean of patch tokens (B, N, D), (B, D). */
export const addPatchMean = (graph: GraphBuilder, patchTokens: string): string =>
  graph.node('ReduceMean', [patchTokens], { axes: [1], keepdims: 0 });
