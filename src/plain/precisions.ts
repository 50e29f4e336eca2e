/**
 * The precisions in which a network can compute; src/torch/precision.ts applies them.
 *
 * | name          | in PyTorch's words                                       | tensors                   | products            |
 * | ------------- | -------------------------------------------------------- | ------------------------- | ------------------- |
 * | `fp32`        | its default                                              | float32                   | float32             |
 * | `bf16-matmul` | torch.set_float32_matmul_precision('medium'), on the CPU | float32                   | bfloat16, by oneDNN |
 * | `bf16`        | torch.autocast(device, torch.bfloat16)                   | bfloat16 where it is safe | bfloat16            |
 * | `fp16`        | torch.autocast('cuda', torch.float16)                    | float16 where it is safe  | float16             |
 *
 * Sums within a product, weights, their gradients and the optimizer are float32 in all of them.
 */
export const PRECISIONS = ['fp32', 'bf16-matmul', 'bf16', 'fp16'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** What may be asked for: a precision, or the fastest that is found by trying. */
export const PRECISION_CHOICES = [...PRECISIONS, 'auto'] as const;
export type PrecisionChoice = (typeof PRECISION_CHOICES)[number];
