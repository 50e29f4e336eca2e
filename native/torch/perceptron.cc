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
Forward forward(const at::Tensor& x, const Norm* norm, const Weights& w, double scale, bool keeps) {
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

struct Gradients {
  at::Tensor x, w1, b1, w2, b2, norm_weight, norm_bias;
};

// upstream (R, E), x (R, D), h (R, F)
Gradients backward(const at::Tensor& upstream, const at::Tensor& x, const Norm* norm, const at::Tensor& statistics,
                   const at::Tensor& h, const Weights& w, double scale) {
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
  if (norm) {
    const auto total = norm_sums.total().unbind(0);
    result.norm_weight = total[0];
    result.norm_bias = total[1];
    result.b2 = total[2].mul(scale);
  } else {
    result.b2 = upstream.sum(0);
  }
  return result;
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

at::Tensor apply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                 const at::Tensor& b2) {
  if (!has_rows({x, w1, b1, w2, b2})) return with_operators(x, {w1, b1, w2, b2});
  if (!needs_gradient({x, w1, b1, w2, b2})) {
    auto shape = x.sizes().vec();
    shape.back() = w2.size(0);
    const Weights w{w1.contiguous(), b1.contiguous(), w2.contiguous(), b2.contiguous()};
    return forward(flat(x).contiguous(), nullptr, w, 1, false).out.view(shape);
  }
  return Perceptron::apply(x, w1.contiguous(), b1.contiguous(), w2.contiguous(), b2.contiguous());
}

}  // namespace
}  // namespace perceptron

at::Tensor perceptron_residual(const at::Tensor& x, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                               double eps, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                               const at::Tensor& b2, const MaybeTensor& kept, double scale) {
  if (!has_rows({x, norm_weight, norm_bias, w1, b1, w2, b2}) || !w1.is_contiguous() || !w2.is_contiguous()) {
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
