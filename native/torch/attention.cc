// A transformer's self-attention, as operators with their gradients:
//
//   dino::attention_residual(x, norm, ...)   x + scale * (softmax(q k^T / sqrt(d)) v) P^T, only for the kept samples,
//                                            where q, k, v are the heads of norm(x) W^T + b
//   dino::class_attention(x, ...)            the attention of the first token to all, without norm and skip connection: for
//                                            the other tokens only keys and values are projected
//
// In the first, each head of a sample runs in one thread and keeps no (N, N) weights (attention.simd.cc); it reads and
// writes the layout of the large products, so nothing is permuted or stacked. The norm's output is not kept, but recomputed
// from its statistics; the last product's output is initialized with the skip connection, to which the product is added.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>
#include <vector>

#include "branches.h"
#include "product.h"

namespace dino {
namespace attention {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Weights {
  at::Tensor qkv, qkv_bias, proj, proj_bias;  // (3 D, D), (3 D), (D, D), (D)
};

// q, k, v of (B, N, 3 D), each (B, heads, N, D / heads), without a copy.
std::array<at::Tensor, 3> split_heads(const at::Tensor& qkv, int64_t heads) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1), width = qkv.size(2) / 3;
  const at::Tensor parts = qkv.view({batch, tokens, 3, heads, width / heads}).permute({2, 0, 3, 1, 4});
  return {parts[0], parts[1], parts[2]};
}

const AttentionLoops& loops() {
  const AttentionLoops* bf16 = !packs_bf16() ? nullptr : has_amx() ? amx_attention_loops() : bf16_attention_loops();
  return bf16 ? *bf16 : attention_loops();
}

// Calls fn(head, sample * heads + head index, offset of the head in a row, scratch memory) for every head of qkv (B, N, 3 D).
template <typename Fn>
void each_head(const AttentionLoops& loops, const at::Tensor& qkv, int64_t heads, Fn fn) {
  const int64_t tokens = qkv.size(1), width = qkv.size(2) / 3, dim = width / heads;
  const float* data = qkv.const_data_ptr<float>();
  at::parallel_for(0, qkv.size(0) * heads, 1, [&](int64_t from, int64_t to) {
    const at::Tensor scratch = at::empty({loops.scratch(tokens, dim)}, at::kFloat);
    for (int64_t i = from; i < to; i++) {
      const int64_t sample = i / heads, offset = i % heads * dim;
      const float* q = data + sample * tokens * 3 * width + offset;
      fn(Head{tokens, dim, q, q + width, q + 2 * width, 3 * width}, i, offset, static_cast<float*>(scratch.data_ptr()));
    }
  });
}

struct Forward {
  at::Tensor out, statistics;     // (B, N, D), (B * N, 2)
  at::Tensor qkv, attended, lse;  // for the backward pass: (B, N, 3 D), (B, N, D), (B, heads, N)
};

// qkv (R, 3 D) = norm(x) W^T + b, and the rows' statistics
void project(const at::Tensor& x, const Norm& norm, const Weights& w, at::Tensor& qkv, at::Tensor& statistics) {
  const int64_t rows = x.size(0), width = x.size(1);
  if (!has_row_products(rows)) {
    at::Tensor y = at::empty_like(x);
    normalize(x, norm, y, statistics);
    initialize_output(nullptr, w.qkv_bias, 1, qkv);
    return multiply_by_weight(qkv, y, w.qkv.t(), 1);
  }
  const RowProduct product(w.qkv.t(), width, 3 * width);
  const RowLoops& loops = dino::rows();
  const NormRows rows_of(x, norm);
  const float* bias = w.qkv_bias.const_data_ptr<float>();
  float *to = qkv.data_ptr<float>(), *known = statistics.data_ptr<float>();
  BlockPlan plan(product.numel());
  const auto y_at = plan.floats(width), left_at = plan.left(product);
  each_block(rows, plan, [&](int64_t row, int64_t height, int64_t, char* memory) {
    float *y = floats(memory, y_at), *out = to + row * 3 * width;
    for (int64_t r = 0; r < height; r++) {
      rows_of.normalize(row + r, y + r * width, known);
      loops.skip(nullptr, bias, 1, out + r * 3 * width, 3 * width);
    }
    product.round(y, width, 1, height, memory + left_at);
    product.multiply(memory + left_at, height, out, 3 * width, true);
  });
}

// out (R, D) = x + scale * (attended P^T + b)
void join(const at::Tensor& x, const at::Tensor& attended, const Weights& w, double scale, at::Tensor& out) {
  const int64_t rows = x.size(0), width = x.size(1);
  if (!has_row_products(rows)) {
    initialize_output(&x, w.proj_bias, scale, out);
    return multiply_by_weight(out, attended, w.proj.t(), 1, scale);
  }
  const RowProduct product(w.proj.t(), width, width);
  const RowLoops& loops = dino::rows();
  const float *in = x.const_data_ptr<float>(), *from = attended.const_data_ptr<float>(),
              *bias = w.proj_bias.const_data_ptr<float>();
  float* to = out.data_ptr<float>();
  BlockPlan plan(product.numel());
  const auto left_at = plan.left(product);
  each_block(rows, plan, [&](int64_t row, int64_t height, int64_t, char* memory) {
    product.round(from + row * width, width, scale, height, memory + left_at);
    for (int64_t r = row; r < row + height; r++) loops.skip(in + r * width, bias, scale, to + r * width, width);
    product.multiply(memory + left_at, height, to + row * width, width, true);
  });
}

Forward forward(const at::Tensor& x, const Norm& norm, const Weights& w, int64_t heads, double scale) {
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2), rows = batch * tokens;
  const at::Tensor in = x.view({rows, width});
  Forward result{at::empty_like(x), at::empty({rows, 2}, x.options()),
                 at::empty({batch, tokens, 3 * width}, x.options()), at::empty_like(x),
                 at::empty({batch, heads, tokens}, x.options())};
  at::Tensor qkv = result.qkv.view({rows, 3 * width});
  project(in, norm, w, qkv, result.statistics);
  float *out = result.attended.data_ptr<float>(), *lse = result.lse.data_ptr<float>();
  const AttentionLoops& loops = attention::loops();
  each_head(loops, result.qkv, heads, [&](const Head& head, int64_t i, int64_t offset, float* scratch) {
    loops.forward(head, out + i / heads * tokens * width + offset, width, lse + i * tokens, scratch);
  });
  at::Tensor to = result.out.view({rows, width});
  join(in, result.attended.view({rows, width}), w, scale, to);
  return result;
}

struct Gradients {
  at::Tensor x, qkv, qkv_bias, proj, proj_bias, norm_weight, norm_bias;
};

// Backward through project(), a block of rows at a time in each thread: grad_x (R, D) from g (R, 3 D), with the gradient of the skip
// connection, and the gradients of the weights. That of qkv's is computed transposed, with g as right operand, as which it is packed
// without transposing.
void project_back(const at::Tensor& grad_out, const at::Tensor& x, const Norm& norm, const at::Tensor& statistics,
                  const at::Tensor& g, const Weights& w, const NormSums& sums, Gradients& result, at::Tensor& grad_x) {
  const int64_t rows = x.size(0), width = x.size(1), wide = 3 * width;
  const RowProduct product(w.qkv, wide, width);
  const RightOperand right(rows, wide);
  const RowLoops& loops = dino::rows();
  const NormRows rows_of(x, norm);
  const at::Tensor normalized = at::empty_like(x), bias = at::zeros({at::get_num_threads(), wide}, x.options());
  const float *from = g.const_data_ptr<float>(), *upstream = grad_out.const_data_ptr<float>(),
              *known = statistics.const_data_ptr<float>();
  float *y = normalized.data_ptr<float>(), *to = grad_x.data_ptr<float>(), *bias_sum = bias.data_ptr<float>();
  BlockPlan plan(product.numel());
  const auto left_at = plan.left(product);
  each_block(rows, plan, [&](int64_t row, int64_t height, int64_t part, char* memory) {
    const float* block = from + row * wide;
    for (int64_t r = 0; r < height; r++) loops.add(block + r * wide, bias_sum + part * wide, wide);
    right.put(block, wide, row, height);
    product.round(block, wide, 1, height, memory + left_at);
    product.multiply(memory + left_at, height, to + row * width, width, false);
    for (int64_t r = row; r < row + height; r++) {
      rows_of.normalize_again(r, known, y + r * width);
      rows_of.backward(r, known, upstream + r * width, to + r * width, sums.of(part));
    }
  });
  const at::Tensor columns = at::empty({width, wide}, x.options());
  right.multiply(columns, normalized.t(), false);
  result.qkv = columns.t().contiguous();
  result.qkv_bias = bias.sum(0);
}

Gradients backward(const at::Tensor& upstream, const at::Tensor& x, const Norm& norm, const Forward& kept,
                   const Weights& w, int64_t heads, double scale) {
  const int64_t tokens = x.size(1), width = x.size(2), rows = x.size(0) * tokens;
  const at::Tensor grad_out = upstream.view({rows, width}), in = x.view({rows, width});
  Gradients result;
  result.proj = at::empty_like(w.proj);
  multiply(result.proj, grad_out.t(), kept.attended.view({rows, width}), 0, scale);
  at::Tensor g = at::empty({rows, 3 * width}, x.options());
  {
    at::Tensor grad_attended = at::empty_like(in);
    multiply_by_weight(grad_attended, grad_out, w.proj, 0, scale);
    const float *out = kept.attended.const_data_ptr<float>(), *grad = grad_attended.const_data_ptr<float>(),
                *lse = kept.lse.const_data_ptr<float>();
    float* to = g.data_ptr<float>();
    const AttentionLoops& loops = attention::loops();
    each_head(loops, kept.qkv, heads, [&](const Head& head, int64_t i, int64_t offset, float* scratch) {
      const int64_t row = i / heads * tokens * width + offset;
      float* q = to + i / heads * tokens * 3 * width + offset;
      loops.backward(head, out + row, grad + row, width, lse + i * tokens, q, q + width, q + 2 * width, scratch);
    });
  }
  at::Tensor y = at::empty_like(in);  // the norm's output, then its gradient
  NormSums sums(width, x.options());
  if (has_row_products(rows)) {
    project_back(grad_out, in, norm, kept.statistics, g, w, sums, result, y);
  } else {
    normalize_again(in, norm, kept.statistics, y);
    result.qkv = at::empty_like(w.qkv);  // (3 D, D)
    multiply(result.qkv, g.t(), y);
    result.qkv_bias = sum_of_rows(g);
    multiply_by_weight(y, g, w.qkv);
    sums.backward(in, norm, kept.statistics, grad_out, y);
  }
  const auto total = sums.total().unbind(0);
  result.x = y.view(x.sizes());
  result.norm_weight = total[0];
  result.norm_bias = total[1];
  result.proj_bias = total[2].mul(scale);
  return result;
}

class AttentionResidual : public torch::autograd::Function<AttentionResidual> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& norm_weight,
                            const at::Tensor& norm_bias, double eps, const at::Tensor& qkv, const at::Tensor& qkv_bias,
                            const at::Tensor& proj, const at::Tensor& proj_bias, int64_t heads, const MaybeTensor& kept,
                            double scale) {
    const at::Tensor samples = kept ? x.index_select(0, *kept) : x.contiguous();  // (kept, N, D)
    const auto result =
        attention::forward(samples, {norm_weight, norm_bias, eps}, {qkv, qkv_bias, proj, proj_bias}, heads, scale);
    context->save_for_backward({samples, norm_weight, norm_bias, qkv, proj, kept ? *kept : at::Tensor(),
                                result.statistics, result.qkv, result.attended, result.lse});
    context->saved_data["eps"] = eps;
    context->saved_data["heads"] = heads;
    context->saved_data["scale"] = scale;
    return kept ? with_samples(x.contiguous(), *kept, result.out) : result.out;
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::attention_residual has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &samples = saved[0], &kept = saved[5], upstream = outputs[0].contiguous();
    const auto result = attention::backward(
        kept.defined() ? upstream.index_select(0, kept) : upstream, samples,
        {saved[1], saved[2], context->saved_data["eps"].toDouble()}, {{}, saved[6], saved[7], saved[8], saved[9]},
        {saved[3], {}, saved[4], {}}, context->saved_data["heads"].toInt(), context->saved_data["scale"].toDouble());
    return {kept.defined() ? with_samples(upstream, kept, result.x) : result.x,
            result.norm_weight,
            result.norm_bias,
            {},
            result.qkv,
            result.qkv_bias,
            result.proj,
            result.proj_bias,
            {},
            {},
            {}};
  }
};

}  // namespace
}  // namespace attention

// (B, N, D) to (B, 1, D), with libtorch's operators
at::Tensor class_attention(const at::Tensor& x, const at::Tensor& qkv, const at::Tensor& qkv_bias,
                           const at::Tensor& proj, const at::Tensor& proj_bias, int64_t heads) {
  check_heads("class_attention", x, heads);
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2), dim = width / heads;
  const at::Tensor q = dino::linear(x.narrow(1, 0, 1), qkv.narrow(0, 0, width), qkv_bias.narrow(0, 0, width))
                           .view({batch, 1, heads, dim})
                           .transpose(1, 2);
  const at::Tensor kv = dino::linear(x, qkv.narrow(0, width, 2 * width), qkv_bias.narrow(0, width, 2 * width))
                            .view({batch, tokens, 2, heads, dim})
                            .permute({2, 0, 3, 1, 4});
  const at::Tensor attended = at::scaled_dot_product_attention(q, kv[0], kv[1]).transpose(1, 2).flatten(2);
  return dino::linear(attended, proj, proj_bias);
}

at::Tensor attention_residual(const at::Tensor& x, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                              double eps, const at::Tensor& qkv, const at::Tensor& qkv_bias, const at::Tensor& proj,
                              const at::Tensor& proj_bias, int64_t heads, const MaybeTensor& kept, double scale) {
  check_heads("attention_residual", x, heads);
  const int64_t width = x.size(2);
  if (!has_rows({x, norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias}) || !is_row(norm_weight, width) ||
      !is_row(norm_bias, width) || !is_affine(qkv, qkv_bias, 3 * width, width) ||
      !is_affine(proj, proj_bias, width, width) || width == 0 || width / heads % 16 != 0) {
    return residual_with_operators(x, {norm_weight, norm_bias, eps}, kept, scale, [&](const at::Tensor& y) {
      const auto [q, k, v] = attention::split_heads(at::linear(y, qkv, qkv_bias), heads);
      return at::linear(at::scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), proj, proj_bias);
    });
  }
  if (!kept && !needs_gradient({x, norm_weight, norm_bias, qkv, qkv_bias, proj, proj_bias})) {
    return attention::forward(x.contiguous(), {norm_weight, norm_bias, eps}, {qkv, qkv_bias, proj, proj_bias}, heads,
                              scale)
        .out;
  }
  return attention::AttentionResidual::apply(x, norm_weight, norm_bias, eps, qkv, qkv_bias, proj, proj_bias, heads,
                                             kept, scale);
}

}  // namespace dino

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def(
      "class_attention(Tensor x, Tensor qkv, Tensor qkv_bias, Tensor proj, Tensor proj_bias, int heads) -> Tensor");
  library.def(
      "attention_residual(Tensor x, Tensor norm_weight, Tensor norm_bias, float eps, Tensor qkv, Tensor qkv_bias, "
      "Tensor proj, Tensor proj_bias, int heads, Tensor? kept, float scale) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("class_attention", dino::class_attention);
  library.impl("attention_residual", dino::attention_residual);
}
