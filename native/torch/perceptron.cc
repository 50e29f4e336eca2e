// A transformer's perceptron, as operators with their gradients:
//
//   dino::perceptron(x, w1, b1, w2, b2)      GELU(x W1^T + b1) W2^T + b2, exact
//   dino::perceptron_residual(x, norm, ...)  x + scale * perceptron(norm(x)), only for the kept samples
//
// These are the widest activations of a transformer. libtorch keeps two of them for the backward pass, and goes over them
// five times: for the bias before the product, for erf, and in the backward pass for erf, exp and a sum. Here only one is
// kept; one pass adds the bias and computes GELU, and in the backward pass one pass computes the value and the derivative
// (which share the exponential), the product with the gradient and the bias's sum. The norm's output is not kept at all: one
// pass recomputes it from its statistics. The second product's output is initialized with the skip connection, to which the
// product is added. A few thousand rows are processed at a time, so that the memory between two products doesn't grow with
// the batch.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "branches.h"
#include "product.h"

namespace dino {
namespace perceptron {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows processed at a time: enough for the products to reach full speed, few enough to limit the memory between them. Where
// weights are packed only once, few suffice, and what is between two products stays in the cache.
int64_t chunk_rows() { return (packs() ? 512 : 2048) * at::get_num_threads(); }

struct Weights {
  at::Tensor w1, b1, w2, b2;  // (F, D), (F), (E, F), (E)
};

// h = x W1^T + b1; value = GELU(h), and may be the same tensor as h.
void widen(const at::Tensor& x, const Weights& w, at::Tensor& h, at::Tensor& value) {
  multiply_by_weight(h, x, w.w1.t());
  const int64_t n = h.size(1);
  float *in = h.data_ptr<float>(), *out = value.data_ptr<float>();
  const RowLoops& loops = dino::rows();
  const float* bias = w.b1.const_data_ptr<float>();
  each_row(h.size(0), [&](int64_t r) { loops.gelu(in + r * n, bias, out + r * n, n); });
}

struct Forward {
  at::Tensor out, h, statistics;  // (R, E); for the backward pass: (R, F), (R, 2)
};

// x (R, D); without a norm (null) there is no skip connection either
Forward forward_by_products(const at::Tensor& x, const Norm* norm, const Weights& w, double scale, bool keeps) {
  const int64_t rows = x.size(0), wide = w.w1.size(0), chunk = std::min(rows, chunk_rows());
  const PackedWeightsGuard packed;
  Forward result{at::empty({rows, w.w2.size(0)}, x.options()), at::empty({keeps ? rows : chunk, wide}, x.options()),
                 norm ? at::empty({rows, 2}, x.options()) : at::Tensor()};
  at::Tensor values = keeps ? at::empty({chunk, wide}, x.options()) : result.h;
  at::Tensor normalized = norm ? at::empty({chunk, x.size(1)}, x.options()) : at::Tensor();
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t n = std::min(chunk, rows - from);
    const at::Tensor part = x.narrow(0, from, n);
    at::Tensor y = part;
    if (norm) {
      y = normalized.narrow(0, 0, n);
      at::Tensor statistics = result.statistics.narrow(0, from, n);
      normalize(part, *norm, y, statistics);
    }
    at::Tensor h = result.h.narrow(0, keeps ? from : 0, n), value = values.narrow(0, 0, n);
    widen(y, w, h, value);
    at::Tensor out = result.out.narrow(0, from, n);
    initialize_output(norm ? &part : nullptr, w.b2, scale, out);
    multiply_by_weight(out, value, w.w2.t(), 1, scale);
  }
  return result;
}

// The same, a block of rows at a time from the norm to the skip connection, in each thread.
Forward forward_by_blocks(const at::Tensor& x, const Norm* norm, const Weights& w, double scale, bool keeps) {
  const int64_t rows = x.size(0), narrow = x.size(1), wide = w.w1.size(0), last = w.w2.size(0);
  const RowProduct first(w.w1.t(), narrow, wide), second(w.w2.t(), wide, last);
  Forward result{at::empty({rows, last}, x.options()), keeps ? at::empty({rows, wide}, x.options()) : at::Tensor(),
                 norm ? at::empty({rows, 2}, x.options()) : at::Tensor()};
  const RowLoops& loops = dino::rows();
  const float *in = x.const_data_ptr<float>(), *b1 = w.b1.const_data_ptr<float>(), *b2 = w.b2.const_data_ptr<float>();
  const auto norm_of = norm ? std::optional(NormRows(x, *norm)) : std::nullopt;
  float *to = result.out.data_ptr<float>(), *all = keeps ? result.h.data_ptr<float>() : nullptr,
        *statistics = norm ? result.statistics.data_ptr<float>() : nullptr;
  BlockPlan plan(first.numel() + second.numel());
  const auto y_at = plan.floats(narrow), value_at = plan.floats(wide), left_at = plan.left(first),
             wide_at = plan.left(second);
  each_block(rows, plan, [&](int64_t row, int64_t height, int64_t, char* memory) {
    auto *y = floats(memory, y_at), *value = floats(memory, value_at), *h = keeps ? all + row * wide : value;
    const float* x_rows = in + row * narrow;
    for (int64_t r = 0; norm_of && r < height; r++) norm_of->normalize(row + r, y + r * narrow, statistics);
    first.round(norm ? y : x_rows, narrow, 1, height, memory + left_at);
    first.multiply(memory + left_at, height, h, wide, false);
    for (int64_t r = 0; r < height; r++) {
      loops.gelu(h + r * wide, b1, value + r * wide, wide);
      loops.skip(norm ? x_rows + r * narrow : nullptr, b2, scale, to + (row + r) * last, last);
    }
    second.round(value, wide, scale, height, memory + wide_at);
    second.multiply(memory + wide_at, height, to + row * last, last, true);
  });
  return result;
}

Forward forward(const at::Tensor& x, const Norm* norm, const Weights& w, double scale, bool keeps) {
  return (has_row_products(x.size(0)) ? forward_by_blocks : forward_by_products)(x, norm, w, scale, keeps);
}

struct Gradients {
  at::Tensor x, w1, b1, w2, b2, norm_weight, norm_bias;
};

void finish(Gradients& result, const NormSums* sums, const at::Tensor& upstream, double scale) {
  if (sums == nullptr) {
    result.b2 = upstream.sum(0);
    return;
  }
  const auto total = sums->total().unbind(0);
  result.norm_weight = total[0];
  result.norm_bias = total[1];
  result.b2 = total[2].mul(scale);
}

// The same, a block of rows at a time in each thread. The wide activations are right operands in the products that give the weights'
// gradients, as which they are packed without transposing; so that of the first weight is computed transposed.
Gradients backward_by_blocks(const at::Tensor& upstream, const at::Tensor& x, const Norm* norm,
                             const at::Tensor& statistics, const at::Tensor& h, const Weights& w, double scale) {
  constexpr int64_t kSummed = 1024;  // rows of a thread whose gradients of weights are added in one product
  const int64_t rows = x.size(0), narrow = x.size(1), wide = h.size(1), last = upstream.size(1);
  const int64_t threads = at::get_num_threads(), most = std::min(rows, kSummed * threads);
  const auto options = x.options();
  const RowProduct second(w.w2, last, wide), first(w.w1, wide, narrow);
  Gradients result{at::empty_like(x), {}, {}, at::empty_like(w.w2), {}, {}, {}};
  const at::Tensor first_columns = at::empty({narrow, wide}, options), sums = at::zeros({threads, wide}, options);
  const NormSums norm_sums(narrow, options);
  const at::Tensor normalized = norm ? at::empty({most, narrow}, options) : at::Tensor();
  const RowLoops& loops = dino::rows();
  const auto norm_of = norm ? std::optional(NormRows(x, *norm)) : std::nullopt;
  const float* known = norm ? statistics.const_data_ptr<float>() : nullptr;
  BlockPlan plan(first.numel() + second.numel());
  const auto g_at = plan.floats(wide), value_at = plan.floats(wide), left_at = plan.left(second),
             wide_at = plan.left(first);
  for (int64_t from = 0; from < rows; from += most) {
    const int64_t n = std::min(most, rows - from);
    const RightOperand values(n, wide), gradients(n, wide);
    const at::Tensor part_in = x.narrow(0, from, n), part_out = upstream.narrow(0, from, n);
    const float *grad_out = part_out.const_data_ptr<float>(), *kept = h.const_data_ptr<float>() + from * wide;
    float *sum = sums.data_ptr<float>(), *grad_x = result.x.data_ptr<float>() + from * narrow,
          *y = norm ? normalized.data_ptr<float>() : nullptr;
    each_block(n, plan, [&](int64_t row, int64_t height, int64_t part, char* memory) {
      auto *g = floats(memory, g_at), *value = floats(memory, value_at);
      second.round(grad_out + row * last, last, scale, height, memory + left_at);
      second.multiply(memory + left_at, height, g, wide, false);
      for (int64_t r = 0; r < height; r++)
        loops.gelu_backward(kept + (row + r) * wide, g + r * wide, value + r * wide, sum + part * wide, wide);
      values.put(value, wide, row, height);
      gradients.put(g, wide, row, height);
      first.round(g, wide, 1, height, memory + wide_at);
      first.multiply(memory + wide_at, height, grad_x + row * narrow, narrow, false);
      for (int64_t r = row; norm_of && r < row + height; r++) {
        norm_of->normalize_again(from + r, known, y + r * narrow);
        norm_of->backward(from + r, known, grad_out + r * last, grad_x + r * narrow, norm_sums.of(part));
      }
    });
    values.multiply(result.w2, part_out.t(), from > 0, scale);                                       // (E, F)
    gradients.multiply(first_columns, (norm ? normalized.narrow(0, 0, n) : part_in).t(), from > 0);  // (D, F)
  }
  result.w1 = first_columns.t().contiguous();
  result.b1 = sums.sum(0);
  finish(result, norm ? &norm_sums : nullptr, upstream, scale);
  return result;
}

// upstream (R, E), x (R, D), h (R, F)
Gradients backward_by_products(const at::Tensor& upstream, const at::Tensor& x, const Norm* norm,
                               const at::Tensor& statistics, const at::Tensor& h, const Weights& w, double scale) {
  const int64_t rows = x.size(0), wide = h.size(1), chunk = std::min(rows, chunk_rows());
  const PackedWeightsGuard packed;
  const int64_t parts = at::get_num_threads();
  const RowLoops& loops = dino::rows();
  const auto options = x.options();
  Gradients result{at::empty_like(x), at::empty_like(w.w1), {}, at::empty_like(w.w2), {}, {}, {}};
  const at::Tensor sums = at::zeros({parts, wide}, options);
  NormSums norm_sums(x.size(1), options);
  at::Tensor gradients = at::empty({chunk, wide}, options), values = at::empty({chunk, wide}, options);
  at::Tensor normalized = norm ? at::empty({chunk, x.size(1)}, options) : at::Tensor();
  if (rows == 0) {
    result.w1.zero_();
    result.w2.zero_();
  }
  for (int64_t from = 0; from < rows; from += chunk) {
    const int64_t n = std::min(chunk, rows - from);
    const double so_far = from == 0 ? 0 : 1;  // the first product sets, the others add
    const at::Tensor grad_out = upstream.narrow(0, from, n), part = x.narrow(0, from, n);
    at::Tensor g = gradients.narrow(0, 0, n), value = values.narrow(0, 0, n);
    multiply_by_weight(g, grad_out, w.w2, 0, scale);  // (n, F)
    const float* in = h.narrow(0, from, n).const_data_ptr<float>();
    float *grad = g.data_ptr<float>(), *out = value.data_ptr<float>(), *sum = sums.data_ptr<float>();
    each_row_of_parts(n, parts, [&](int64_t r, int64_t p) {
      loops.gelu_backward(in + r * wide, grad + r * wide, out + r * wide, sum + p * wide, wide);
    });
    multiply(result.w2, grad_out.t(), value, so_far, scale);  // (E, F)
    at::Tensor y = part;
    if (norm) {
      y = normalized.narrow(0, 0, n);
      normalize_again(part, *norm, statistics.narrow(0, from, n), y);
    }
    multiply(result.w1, g.t(), y, so_far);  // (F, D)
    at::Tensor grad_x = result.x.narrow(0, from, n);
    multiply_by_weight(grad_x, g, w.w1);
    if (norm) norm_sums.backward(part, *norm, statistics.narrow(0, from, n), grad_out, grad_x);
  }
  result.b1 = sums.sum(0);
  finish(result, norm ? &norm_sums : nullptr, upstream, scale);
  return result;
}

Gradients backward(const at::Tensor& upstream, const at::Tensor& x, const Norm* norm, const at::Tensor& statistics,
                   const at::Tensor& h, const Weights& w, double scale) {
  return (has_row_products(x.size(0)) ? backward_by_blocks : backward_by_products)(upstream, x, norm, statistics, h, w,
                                                                                   scale);
}

class Perceptron : public torch::autograd::Function<Perceptron> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1,
                            const at::Tensor& w2, const at::Tensor& b2) {
    const at::Tensor rows = flat(x).contiguous();
    const auto result = perceptron::forward(rows, nullptr, {w1, b1, w2, b2}, 1, true);
    context->save_for_backward({rows, result.h, w1, b1, w2, b2});
    auto shape = x.sizes().vec();
    shape.back() = w2.size(0);
    return result.out.view(shape);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::perceptron has no second derivative");
    const auto saved = context->get_saved_variables();
    const auto result = perceptron::backward(flat(outputs[0]).contiguous(), saved[0], nullptr, at::Tensor(), saved[1],
                                             {saved[2], saved[3], saved[4], saved[5]}, 1);
    auto shape = outputs[0].sizes().vec();
    shape.back() = saved[0].size(1);
    return {result.x.view(shape), result.w1, result.b1, result.w2, result.b2};
  }
};

class PerceptronResidual : public torch::autograd::Function<PerceptronResidual> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& norm_weight,
                            const at::Tensor& norm_bias, double eps, const at::Tensor& w1, const at::Tensor& b1,
                            const at::Tensor& w2, const at::Tensor& b2, const MaybeTensor& kept, double scale) {
    const at::Tensor samples = kept ? x.index_select(0, *kept) : x.contiguous();  // (kept, ..., D)
    const Norm norm{norm_weight, norm_bias, eps};
    const auto result = perceptron::forward(flat(samples), &norm, {w1, b1, w2, b2}, scale, true);
    context->save_for_backward(
        {samples, result.statistics, result.h, norm_weight, norm_bias, w1, b1, w2, b2, kept ? *kept : at::Tensor()});
    context->saved_data["eps"] = eps;
    context->saved_data["scale"] = scale;
    const at::Tensor out = result.out.view(samples.sizes());
    return kept ? with_samples(x.contiguous(), *kept, out) : out;
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::perceptron_residual has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &samples = saved[0], &kept = saved[9], all_upstream = outputs[0].contiguous();
    const Norm norm{saved[3], saved[4], context->saved_data["eps"].toDouble()};
    const at::Tensor upstream = kept.defined() ? all_upstream.index_select(0, kept) : all_upstream;
    const auto result =
        perceptron::backward(flat(upstream), flat(samples), &norm, saved[1], saved[2],
                             {saved[5], saved[6], saved[7], saved[8]}, context->saved_data["scale"].toDouble());
    const at::Tensor grad_samples = result.x.view(samples.sizes());
    return {kept.defined() ? with_samples(all_upstream, kept, grad_samples) : grad_samples,
            result.norm_weight,
            result.norm_bias,
            {},
            result.w1,
            result.b1,
            result.w2,
            result.b2,
            {},
            {}};
  }
};

at::Tensor with_operators(const at::Tensor& x, const Weights& w) {
  return at::linear(at::gelu(at::linear(x, w.w1, w.b1)), w.w2, w.b2);
}

// Whether our own loops apply to these weights, of D to F to E features.
bool has_layers(const at::Tensor& x, const Weights& w) {
  return x.dim() >= 1 && w.w1.dim() == 2 && w.w2.dim() == 2 && w.w1.size(0) > 0 &&
         is_affine(w.w1, w.b1, w.w1.size(0), x.size(-1)) && is_affine(w.w2, w.b2, w.w2.size(0), w.w1.size(0));
}

at::Tensor apply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                 const at::Tensor& b2) {
  if (!has_rows({x, w1, b1, w2, b2})) return with_operators(x, {w1, b1, w2, b2});
  const Weights w{w1.contiguous(), b1.contiguous(), w2.contiguous(), b2.contiguous()};
  if (!has_layers(x, w)) return with_operators(x, w);
  if (!needs_gradient({x, w1, b1, w2, b2})) {
    auto shape = x.sizes().vec();
    shape.back() = w2.size(0);
    return forward(flat(x).contiguous(), nullptr, w, 1, false).out.view(shape);
  }
  return Perceptron::apply(x, w.w1, w.b1, w.w2, w.b2);
}

}  // namespace
}  // namespace perceptron

at::Tensor perceptron_residual(const at::Tensor& x, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                               double eps, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                               const at::Tensor& b2, const MaybeTensor& kept, double scale) {
  if (!has_rows({x, norm_weight, norm_bias, w1, b1, w2, b2}) || !has_samples(x, kept) ||
      !perceptron::has_layers(x, {w1, b1, w2, b2}) || w2.size(0) != x.size(-1) || !is_row(norm_weight, x.size(-1)) ||
      !is_row(norm_bias, x.size(-1))) {
    return residual_with_operators(x, {norm_weight, norm_bias, eps}, kept, scale, [&](const at::Tensor& y) {
      return perceptron::with_operators(y, {w1, b1, w2, b2});
    });
  }
  const Norm norm{norm_weight, norm_bias, eps};
  if (!kept && !needs_gradient({x, norm_weight, norm_bias, w1, b1, w2, b2})) {
    const at::Tensor rows = flat(x).contiguous();
    return perceptron::forward(rows, &norm, {w1, b1, w2, b2}, scale, false).out.view(x.sizes());
  }
  return perceptron::PerceptronResidual::apply(x, norm_weight, norm_bias, eps, w1, b1, w2, b2, kept, scale);
}

}  // namespace dino

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def("perceptron(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2) -> Tensor");
  library.def(
      "perceptron_residual(Tensor x, Tensor norm_weight, Tensor norm_bias, float eps, Tensor w1, Tensor b1, Tensor w2, "
      "Tensor b2, Tensor? kept, float scale) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("perceptron", dino::perceptron::apply);
  library.impl("perceptron_residual", dino::perceptron_residual);
}
