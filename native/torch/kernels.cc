// Kernels of our own, where a profile showed that they pay, as operators dino::* with their gradients.
//
//   dino::linear_gelu(x, weight, bias)   GELU(x W^T + b), exact, in one pass over the product
//
// libtorch's way makes five passes over the widest activations of a transformer: the bias before the product, erf, and on
// the way back erf, exp and a sum. Here one pass adds the bias and writes the value and the slope, which share the
// exponential; the way back is one multiplication. Off the CPU's float32 the operator is libtorch's own two.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

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

// value[i] = GELU(h[i] + bias[i]) and slope[i] its derivative, for one row; `slope` may be `h` itself.
// Phi by Abramowitz and Stegun 7.1.26: error below 1e-7.
DINO_SIMD void gelu_row(const float* h, const float* bias, float* value, float* slope, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const float x = h[i] + bias[i];
    const float magnitude = std::fabs(x);
    const float density = exp_negative(-0.5f * x * x);
    const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * magnitude);
    const float tail =
        0.5f * density * t *
        (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    const float phi = x > 0.0f ? 1.0f - tail : tail;
    value[i] = x * phi;
    slope[i] = phi + x * density * 0.39894228f;  // 1 / sqrt(2 pi)
  }
}

// out[i] = gradient[i] * slope[i], and the same added to sum[i].
DINO_SIMD void backward_row(const float* gradient, const float* slope, float* out, float* sum, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const float product = gradient[i] * slope[i];
    out[i] = product;
    sum[i] += product;
  }
}

constexpr int64_t kGrain = 16;  // rows a thread takes at least

// Turns the product h (N, F) into its slopes, in place, and gives the values (N, F).
at::Tensor gelu_forward(at::Tensor& h, const at::Tensor& bias) {
  const int64_t rows = h.size(0), n = h.size(1);
  at::Tensor value = at::empty_like(h);
  float* in = h.data_ptr<float>();
  float* out = value.data_ptr<float>();
  const float* b = bias.const_data_ptr<float>();
  at::parallel_for(0, rows, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) gelu_row(in + r * n, b, out + r * n, in + r * n, n);
  });
  return value;
}

at::Tensor flat(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

class LinearGelu : public torch::autograd::Function<LinearGelu> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    const at::Tensor rows = flat(x);                  // (N, D)
    at::Tensor slope = at::mm(rows, weight.t());      // (N, F)
    const at::Tensor value = gelu_forward(slope, bias);
    context->save_for_backward({x, weight, slope});
    auto shape = x.sizes().vec();
    shape.back() = weight.size(0);
    return value.view(shape);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::linear_gelu has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &slope = saved[2];
    const at::Tensor gradient = flat(outputs[0]).contiguous();  // (N, F)
    const int64_t rows = gradient.size(0), n = gradient.size(1);
    const at::Tensor product = at::empty_like(gradient);
    const int64_t parts = at::get_num_threads();  // each adds up a bias gradient of its own, in a fixed order
    const at::Tensor sums = at::zeros({parts, n}, gradient.options());
    const float* g = gradient.const_data_ptr<float>();
    const float* s = slope.const_data_ptr<float>();
    float* out = product.data_ptr<float>();
    float* sum = sums.data_ptr<float>();
    at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
      for (int64_t part = from; part < to; part++) {
        for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
          backward_row(g + r * n, s + r * n, out + r * n, sum + part * n, n);
      }
    });
    at::Tensor to_x, to_weight, to_bias;
    if (context->needs_input_grad(0)) to_x = at::mm(product, weight).view(x.sizes());
    if (context->needs_input_grad(1)) to_weight = at::mm(product.t(), flat(x));
    if (context->needs_input_grad(2)) to_bias = sums.sum(0);
    return {to_x, to_weight, to_bias};
  }
};

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const auto plain = [](const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; };
  if (!plain(x) || !plain(weight) || !plain(bias) || at::autocast::is_autocast_enabled(at::kCPU)) {
    return at::gelu(at::linear(x, weight, bias));
  }
  return LinearGelu::apply(x, weight, bias);
}

}  // namespace

TORCH_LIBRARY(dino, library) {
  library.def("linear_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) { library.impl("linear_gelu", linear_gelu); }
