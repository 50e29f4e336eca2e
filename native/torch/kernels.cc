// Kernels of our own, where a profile showed that they pay, as operators dino::* with their gradients.
//
//   dino::perceptron(x, w1, b1, w2, b2)   GELU(x W1^T + b1) W2^T + b2, exact
//   dino::attention(qkv, heads)           softmax(q k^T / sqrt(d)) v of a (B, N, 3 C) projection, as (B, N, C)
//
// The first: the widest activations of a transformer. libtorch keeps two of them for the way back, and goes over them five
// times: the bias before the product, erf, and on the way back erf, exp and a sum. Here one is kept; one pass adds the bias
// and computes GELU, and on the way back one pass computes value and slope, which share the exponential, the product with
// the gradient and the bias's sum. The second: libtorch's fused attention, with the three gradients written where the
// projection's own gradient is, instead of being stacked and then copied. Off the CPU's float32 both are libtorch's own.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>
#include <cmath>
#include <cstring>

// One binary for every x86-64: the dynamic loader picks the widest version that the machine has.
#if defined(__linux__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define DINO_SIMD __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DINO_SIMD
#endif

namespace {

// e^x for x <= 0, to 2 units in the last place; 0 below -87. (Cody and Waite's reduction, a polynomial on +-ln(2)/2.)
inline float exp_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // rounds to the nearest whole number
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127 << 23);  // 2^n; the bits above the exponent fall out
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

struct Gelu {
  float value, slope;
};

// Phi by Abramowitz and Stegun 7.1.26: error below 1e-7.
inline Gelu gelu(float x) {
  const float density = exp_negative(-0.5f * x * x);
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * std::fabs(x));
  const float tail =
      0.5f * density * t *
      (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float phi = x > 0.0f ? 1.0f - tail : tail;
  return {x * phi, phi + x * density * 0.39894228f};  // 1 / sqrt(2 pi)
}

// Adds the bias to h, in place, and writes GELU of it: one row.
DINO_SIMD void forward_row(float* h, const float* bias, float* value, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const float x = h[i] + bias[i];
    h[i] = x;
    value[i] = gelu(x).value;
  }
}

// From h: its GELU; the gradient times its slope, in place; and that added to the bias's sum.
DINO_SIMD void backward_row(const float* h, float* gradient, float* value, float* sum, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const Gelu at = gelu(h[i]);
    value[i] = at.value;
    const float product = gradient[i] * at.slope;
    gradient[i] = product;
    sum[i] += product;
  }
}

constexpr int64_t kGrain = 16;  // rows a thread takes at least

at::Tensor flat(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

class Perceptron : public torch::autograd::Function<Perceptron> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& w1,
                            const at::Tensor& b1, const at::Tensor& w2, const at::Tensor& b2) {
    at::Tensor h = at::mm(flat(x), w1.t());  // (N, F)
    const at::Tensor value = at::empty_like(h);
    const int64_t rows = h.size(0), n = h.size(1);
    float* in = h.data_ptr<float>();
    float* out = value.data_ptr<float>();
    const float* bias = b1.const_data_ptr<float>();
    at::parallel_for(0, rows, kGrain, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) forward_row(in + r * n, bias, out + r * n, n);
    });
    context->save_for_backward({x, w1, w2, h});
    auto shape = x.sizes().vec();
    shape.back() = w2.size(0);
    return at::addmm(b2, value, w2.t()).view(shape);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::perceptron has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w1 = saved[1], &w2 = saved[2], &h = saved[3];
    const at::Tensor upstream = flat(outputs[0]);         // (N, D)
    at::Tensor gradient = at::mm(upstream, w2);           // (N, F)
    const at::Tensor value = at::empty_like(gradient);    // (N, F)
    const int64_t rows = h.size(0), n = h.size(1);
    const int64_t parts = at::get_num_threads();  // each adds up a bias gradient of its own, in a fixed order
    const at::Tensor sums = at::zeros({parts, n}, gradient.options());
    const float* in = h.const_data_ptr<float>();
    float* g = gradient.data_ptr<float>();
    float* out = value.data_ptr<float>();
    float* sum = sums.data_ptr<float>();
    at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
      for (int64_t part = from; part < to; part++) {
        for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
          backward_row(in + r * n, g + r * n, out + r * n, sum + part * n, n);
      }
    });
    torch::autograd::variable_list result(5);
    if (context->needs_input_grad(0)) result[0] = at::mm(gradient, w1).view(x.sizes());
    if (context->needs_input_grad(1)) result[1] = at::mm(gradient.t(), flat(x));
    if (context->needs_input_grad(2)) result[2] = sums.sum(0);
    if (context->needs_input_grad(3)) result[3] = at::mm(upstream.t(), value);
    if (context->needs_input_grad(4)) result[4] = upstream.sum(0);
    return result;
  }
};

at::Tensor perceptron(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                      const at::Tensor& b2) {
  const auto plain = [](const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; };
  if (!plain(x) || !plain(w1) || !plain(b1) || !plain(w2) || !plain(b2) ||
      at::autocast::is_autocast_enabled(at::kCPU)) {
    return at::linear(at::gelu(at::linear(x, w1, b1)), w2, b2);
  }
  return Perceptron::apply(x, w1, b1.contiguous(), w2, b2);
}

// q, k, v of (B, N, 3 C), each (B, heads, N, C / heads), without a copy.
std::array<at::Tensor, 3> split_heads(const at::Tensor& qkv, int64_t heads) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1), width = qkv.size(2) / 3;
  const at::Tensor parts = qkv.view({batch, tokens, 3, heads, width / heads}).permute({2, 0, 3, 1, 4});
  return {parts[0], parts[1], parts[2]};
}

// (B, heads, N, C / heads) as (B, N, C)
at::Tensor join_heads(const at::Tensor& x) { return x.transpose(1, 2).flatten(2); }

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& qkv, int64_t heads) {
    const auto [q, k, v] = split_heads(qkv, heads);
    const auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v);
    context->save_for_backward({qkv, out, lse});
    context->saved_data["heads"] = heads;
    return join_heads(out);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::attention has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &qkv = saved[0], &out = saved[1], &lse = saved[2];
    const int64_t heads = context->saved_data["heads"].toInt();
    const auto [q, k, v] = split_heads(qkv, heads);
    const at::Tensor upstream = outputs[0].reshape({qkv.size(0), qkv.size(1), heads, q.size(3)}).transpose(1, 2);
    const auto parts = at::_scaled_dot_product_flash_attention_for_cpu_backward(upstream, q, k, v, out, lse, 0.0, false);
    const at::Tensor gradient = at::empty_like(qkv);
    const auto into = split_heads(gradient, heads);
    into[0].copy_(std::get<0>(parts));
    into[1].copy_(std::get<1>(parts));
    into[2].copy_(std::get<2>(parts));
    return {gradient, at::Tensor()};
  }
};

at::Tensor attention(const at::Tensor& qkv, int64_t heads) {
  if (qkv.is_cpu() && qkv.scalar_type() == at::kFloat && qkv.is_contiguous() &&
      !at::autocast::is_autocast_enabled(at::kCPU)) {
    return Attention::apply(qkv, heads);
  }
  const auto [q, k, v] = split_heads(qkv, heads);
  return join_heads(at::scaled_dot_product_attention(q, k, v));
}

}  // namespace

TORCH_LIBRARY(dino, library) {
  library.def("perceptron(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2) -> Tensor");
  library.def("attention(Tensor qkv, int heads) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("perceptron", perceptron);
  library.impl("attention", attention);
}
