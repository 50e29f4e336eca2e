// What the two residual branches of a transformer's block share: the norm, the skip connection and stochastic depth.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <vector>

#include "loops.h"

namespace dino {

using MaybeTensor = std::optional<at::Tensor>;

// The layer norm at the start of a branch, over the last dimension.
struct Norm {
  at::Tensor weight, bias;  // (D)
  double eps;
};

inline at::Tensor flat(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

inline bool is_plain(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

// Whether x is n float32 numbers on the CPU, one beside the other, as loops read them through a pointer.
inline bool is_row(const at::Tensor& x, int64_t n) {
  return is_plain(x) && x.dim() == 1 && x.size(0) == n && x.is_contiguous();
}

// Whether our own loops over rows apply: float32 on the CPU. Otherwise libtorch's operators are used.
inline bool has_rows(std::initializer_list<at::Tensor> tensors) {
  if (at::autocast::is_autocast_enabled(at::kCPU)) return false;
  for (const auto& tensor : tensors)
    if (!is_plain(tensor)) return false;
  return true;
}

// Whether x (..., K) can be multiplied by w (N, K), and a bias is (N).
inline bool is_linear(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias) {
  return x.dim() >= 1 && w.dim() == 2 && x.size(-1) == w.size(1) && (!bias || is_row(*bias, w.size(0)));
}

// Whether w (out, in) and its bias (out) are those of a linear layer as our own loops read it.
inline bool is_affine(const at::Tensor& w, const at::Tensor& bias, int64_t out, int64_t in) {
  return w.dim() == 2 && w.size(0) == out && w.size(1) == in && w.is_contiguous() && is_row(bias, out);
}

// Whether the kept samples are rows of x, which then has samples of at least one dimension.
inline bool has_samples(const at::Tensor& x, const MaybeTensor& kept) { return x.dim() >= (kept ? 2 : 1); }

inline bool needs_gradient(std::initializer_list<at::Tensor> tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const auto& tensor : tensors)
    if (tensor.requires_grad()) return true;
  return false;
}

// Runs fn(row) for every row, in several threads.
template <typename Fn>
void each_row(int64_t rows, Fn fn) {
  constexpr int64_t kGrain = 16;  // rows that a thread gets at least
  at::parallel_for(0, rows, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) fn(row);
  });
}

// The same for rows that are summed: fn(row, part), each part in one thread, so that the order of sums is fixed.
template <typename Fn>
void each_row_of_parts(int64_t rows, int64_t parts, Fn fn) {
  at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t part = from; part < to; part++)
      for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++) fn(row, part);
  });
}

// The norm of single rows of x (R, D); `known` are the rows' statistics (R, 2).
class NormRows {
 public:
  NormRows(const at::Tensor& x, const Norm& norm)
      : x_(x.const_data_ptr<float>()), weight_(norm.weight.const_data_ptr<float>()),
        bias_(norm.bias.const_data_ptr<float>()), eps_(static_cast<float>(norm.eps)), n_(x.size(1)) {}

  void normalize(int64_t r, float* y, float* known) const {
    const auto at = rows().layer_norm(x_ + r * n_, weight_, bias_, eps_, y, n_);
    known[2 * r] = at.mean;
    known[2 * r + 1] = at.rstd;
  }
  // Recomputes y from the statistics.
  void normalize_again(int64_t r, const float* known, float* y) const {
    rows().normalize(x_ + r * n_, {known[2 * r], known[2 * r + 1]}, weight_, bias_, y, n_);
  }
  // `gradient` is that of y on entry; on return that of x, with the upstream gradient of the skip connection added.
  void backward(int64_t r, const float* known, const float* upstream, float* gradient, LayerNormSums sums) const {
    rows().layer_norm_backward(x_ + r * n_, {known[2 * r], known[2 * r + 1]}, weight_, upstream, gradient, sums, n_);
  }

 private:
  const float *x_, *weight_, *bias_;
  float eps_;
  int64_t n_;
};

// y = norm(x), and the rows' statistics (R, 2)
inline void normalize(const at::Tensor& x, const Norm& norm, at::Tensor& y, at::Tensor& statistics) {
  const NormRows rows_of(x, norm);
  float *out = y.data_ptr<float>(), *known = statistics.data_ptr<float>();
  const int64_t n = x.size(1);
  each_row(x.size(0), [&](int64_t r) { rows_of.normalize(r, out + r * n, known); });
}

// Recomputes y from the statistics.
inline void normalize_again(const at::Tensor& x, const Norm& norm, const at::Tensor& statistics, at::Tensor& y) {
  const NormRows rows_of(x, norm);
  const float* known = statistics.const_data_ptr<float>();
  float* out = y.data_ptr<float>();
  const int64_t n = x.size(1);
  each_row(x.size(0), [&](int64_t r) { rows_of.normalize_again(r, known, out + r * n); });
}

// (n), the sum of the rows of x (R, n)
inline at::Tensor sum_of_rows(const at::Tensor& x) {
  const int64_t n = x.size(1), parts = at::get_num_threads();
  const at::Tensor sums = at::zeros({parts, n}, x.options());
  const RowLoops& loops = rows();
  const float* in = x.const_data_ptr<float>();
  float* sum = sums.data_ptr<float>();
  each_row_of_parts(x.size(0), parts, [&](int64_t r, int64_t part) { loops.add(in + r * n, sum + part * n, n); });
  return sums.sum(0);
}

// Sums over rows, one set for each thread: the gradients of the norm's weight and bias, and the sum of the upstream
// gradient, which is the gradient of the bias at the end of the branch.
class NormSums {
 public:
  NormSums(int64_t width, const at::TensorOptions& options)
      : parts_(at::get_num_threads()), sums_(at::zeros({parts_, 3, width}, options)) {}

  // `gradient` is that of y on entry; on return that of x, with the upstream gradient of the skip connection added.
  void backward(const at::Tensor& x, const Norm& norm, const at::Tensor& statistics, const at::Tensor& upstream,
                at::Tensor& gradient) {
    const NormRows rows_of(x, norm);
    const float *known = statistics.const_data_ptr<float>(), *grad_out = upstream.const_data_ptr<float>();
    float* g = gradient.data_ptr<float>();
    const int64_t n = x.size(1);
    each_row_of_parts(x.size(0), parts_, [&](int64_t r, int64_t part) {
      rows_of.backward(r, known, grad_out + r * n, g + r * n, of(part));
    });
  }

  // Those of a part, for a single row's backward pass.
  LayerNormSums of(int64_t part) const {
    const int64_t n = sums_.size(2);
    float* own = sums_.data_ptr<float>() + part * 3 * n;
    return {own, own + n, own + 2 * n};
  }

  // (3, width): weight, bias, upstream
  at::Tensor total() const { return sums_.sum(0); }

 private:
  int64_t parts_;
  at::Tensor sums_;
};

// out = (skip or 0) + scale * bias, in every row; a product is then added to it.
inline void initialize_output(const at::Tensor* skip, const at::Tensor& bias, double scale, at::Tensor& out) {
  const int64_t n = out.size(1);
  const float *in = skip ? skip->const_data_ptr<float>() : nullptr, *b = bias.const_data_ptr<float>();
  const RowLoops& loops = rows();
  float* to = out.data_ptr<float>();
  each_row(out.size(0), [&](int64_t r) { loops.skip(in ? in + r * n : nullptr, b, scale, to + r * n, n); });
}

// A copy of x (B, ...) in which the samples listed in kept, each once, are replaced by those of `samples`, in order.
inline at::Tensor with_samples(const at::Tensor& x, const at::Tensor& kept, const at::Tensor& samples) {
  at::Tensor out = at::empty_like(x);
  if (x.numel() == 0) return out;
  const at::Tensor listed = kept.contiguous();
  const int64_t* index = listed.const_data_ptr<int64_t>();
  const int64_t size = x.numel() / x.size(0);
  std::vector<const float*> sources(x.size(0));
  for (int64_t i = 0; i < x.size(0); i++) sources[i] = x.const_data_ptr<float>() + i * size;
  for (int64_t i = 0; i < kept.numel(); i++) sources[index[i]] = samples.const_data_ptr<float>() + i * size;
  float* to = out.data_ptr<float>();
  at::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) std::copy_n(sources[i], size, to + i * size);
  });
  return out;
}

// x + scale * branch(norm(x)) with libtorch's operators, only for the kept samples.
template <typename Fn>
at::Tensor residual_with_operators(const at::Tensor& x, const Norm& norm, const MaybeTensor& kept, double scale,
                                   Fn branch) {
  const at::Tensor samples = kept ? x.index_select(0, *kept) : x;
  const at::Tensor out =
      branch(at::layer_norm(samples, {x.size(-1)}, norm.weight, norm.bias, norm.eps)).to(x.scalar_type());
  return kept ? x.index_add(0, *kept, out, scale) : x.add(out, scale);
}

// x (B, N, D), whose rows are divided into heads.
inline void check_heads(const char* name, const at::Tensor& x, int64_t heads) {
  TORCH_CHECK(x.dim() == 3, name, ": expected x (B, N, D), got ", x.sizes());
  TORCH_CHECK(heads > 0 && x.size(2) % heads == 0, name, ": ", heads, " heads don't divide a width of ", x.size(2));
}

// The operators, for use by each other; attention.cc and perceptron.cc describe them.
at::Tensor class_attention(const at::Tensor& x, const at::Tensor& qkv, const at::Tensor& qkv_bias,
                           const at::Tensor& proj, const at::Tensor& proj_bias, int64_t heads);
at::Tensor attention_residual(const at::Tensor& x, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                              double eps, const at::Tensor& qkv, const at::Tensor& qkv_bias, const at::Tensor& proj,
                              const at::Tensor& proj_bias, int64_t heads, const MaybeTensor& kept, double scale);
at::Tensor perceptron_residual(const at::Tensor& x, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                               double eps, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                               const at::Tensor& b2, const MaybeTensor& kept, double scale);

}  // namespace dino
