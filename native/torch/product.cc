// Matrix products, and a linear layer's:
//
//   dino::linear(x, w, bias)    x w^T + bias, with its gradient
//
// In float32 they are libtorch's. Where float32 products may be computed in bfloat16 (precision.h), a processor with AMX has
// them from oneDNN, through libtorch. oneDNN does so only with AMX, although other processors multiply bfloat16 too, so with
// avx512_bf16 the operands are rounded and packed here, and oneDNN's kernel for blocks, which libtorch exports, multiplies them
// and adds in float32. Each number of a result is computed in the same order whatever the number of threads.
#include "product.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cstdlib>
#include <string_view>
#include <utility>

#include "branches.h"
#include "precision.h"

namespace dino {

// The processor multiplies bfloat16, but oneDNN, which does so for float32 matrices only with AMX, leaves them in float32.
bool packs_bf16() {
  static const bool can = [] {
    const auto capabilities = at::cpu::get_cpu_capabilities();
    const auto has = [&](const char* name) {
      const auto found = capabilities.find(name);
      return found != capabilities.end() && found->second.toBool();
    };
    const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");
    const bool uses_amx = most == nullptr || std::string_view(most) != "AVX512_CORE_BF16";
    return has("avx512_bf16") && !(has("amx_bf16") && uses_amx);
  }();
  return can && bf16_products();
}

namespace {

// A block of the result; the kernel's packed operand has rows of 16, 32, 48 or 64 pairs.
constexpr int64_t kRows = 64, kColumns = 64;
// Inner length of a block: its two operands fit in a core's second-level cache. Even, since numbers are packed in pairs.
constexpr int64_t kDepth = 1024;

int64_t even(int64_t n) { return n + n % 2; }
int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
int64_t panel_width(int64_t columns) { return blocks(columns, 16) * 16; }

at::Tensor scratch(int64_t size) { return at::empty({size}, at::TensorOptions().dtype(at::kBFloat16)); }

// scale * a (M, K) in bfloat16, row by row, rows padded to an even length with 0.
at::Tensor pack_rows(const at::Tensor& a, float scale) {
  const int64_t rows = a.size(0), depth = a.size(1), stride = even(depth);
  const PackLoops& loops = pack_loops();
  at::Tensor packed = scratch(rows * stride);
  auto* to = static_cast<uint16_t*>(packed.data_ptr());
  const float* from = a.const_data_ptr<float>();
  if (a.stride(1) == 1) {
    const int64_t ld = a.stride(0);
    each_row(rows, [&](int64_t r) { loops.round(from + r * ld, scale, to + r * stride, depth); });
  } else {
    const int64_t ld = a.stride(1);
    at::parallel_for(0, blocks(rows, kRows), 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; block++) {
        const int64_t row = block * kRows;
        loops.round_columns(from + row, ld, scale, to + row * stride, stride, std::min(kRows, rows - row), depth);
      }
    });
  }
  return packed;
}

// b (K, N) in bfloat16: panels of kColumns columns, each row by row of pairs of consecutive rows of b, padded with 0.
at::Tensor pack_panels(const at::Tensor& b) {
  const int64_t depth = b.size(0), columns = b.size(1), pairs = even(depth) / 2;
  const PackLoops& loops = pack_loops();
  const int64_t panels = blocks(columns, kColumns);
  at::Tensor packed = scratch(panels * pairs * 2 * kColumns);
  auto* to = static_cast<uint32_t*>(packed.data_ptr());
  const float* from = b.const_data_ptr<float>();
  const bool is_transposed = b.stride(0) == 1 && b.stride(1) != 1;
  const int64_t ld = is_transposed ? b.stride(1) : b.stride(0);
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; p++) {
      const int64_t first = p * kColumns, width = std::min(kColumns, columns - first);
      uint32_t* panel = to + p * pairs * kColumns;
      if (is_transposed) {
        loops.pair_columns(from + first * ld, ld, panel, panel_width(width), width, depth);
      } else {
        loops.pair_rows(from + first, ld, panel, panel_width(width), width, depth);
      }
    }
  });
  return packed;
}

thread_local PackedWeights* weights_in_use = nullptr;

void multiply_bf16(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool is_weight, bool adds,
                   float alpha) {
  const int64_t rows = a.size(0), depth = even(a.size(1)), columns = b.size(1);
  const at::Tensor packed_a = pack_rows(a, alpha);
  const at::Tensor packed_b = is_weight && weights_in_use ? weights_in_use->find(b, pack_panels) : pack_panels(b);
  const auto* left = packed_a.const_data_ptr<at::BFloat16>();
  const auto* right = packed_b.const_data_ptr<at::BFloat16>();
  float* to = out.data_ptr<float>();
  const int64_t panels = blocks(columns, kColumns), ld = out.stride(0);
  at::parallel_for(0, blocks(rows, kRows) * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      const int64_t row = block / panels * kRows, panel = block % panels, column = panel * kColumns;
      const int64_t height = std::min(kRows, rows - row), width = std::min(kColumns, columns - column);
      const int64_t pair_stride = panel_width(width);
      for (int64_t k = 0; k < depth; k += kDepth) {
        at::native::cpublas::brgemm(height, width, std::min(kDepth, depth - k), depth, pair_stride, ld, adds || k > 0,
                                    left + row * depth + k, right + panel * depth * kColumns + k * pair_stride,
                                    to + row * ld + column);
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

void multiply_either(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool is_weight, double beta,
                     double alpha) {
  at::Tensor result = out;
  if (!packs_bf16() || out.numel() == 0 || a.size(1) == 0) {
    if (beta == 0 && alpha == 1) {
      at::mm_out(result, a, b);
    } else {
      at::addmm_out(result, result, a, b, beta, alpha);
    }
    return;
  }
  if (beta != 0 && beta != 1) result.mul_(beta);
  multiply_bf16(result, a, b, is_weight, beta != 0, static_cast<float>(alpha));
}

}  // namespace

void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta, double alpha) {
  multiply_either(out, a, b, false, beta, alpha);
}

void multiply_by_weight(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta, double alpha) {
  multiply_either(out, a, b, true, beta, alpha);
}

PackedWeightsGuard::PackedWeightsGuard() : before_(weights_in_use), used_(before_ ? before_ : &own_) {
  weights_in_use = used_;
}
PackedWeightsGuard::PackedWeightsGuard(PackedWeights& of_other_thread)
    : before_(std::exchange(weights_in_use, &of_other_thread)), used_(&of_other_thread) {}
PackedWeightsGuard::~PackedWeightsGuard() { weights_in_use = before_; }

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias) {
  at::Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  if (bias) initialize_output(nullptr, *bias, 1, out);
  multiply_by_weight(out, x, w.t(), bias ? 1 : 0);
  return out;
}

at::Tensor with_width(const at::Tensor& rows, const at::Tensor& x) {
  auto shape = x.sizes().vec();
  shape.back() = rows.size(1);
  return rows.view(shape);
}

class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& w,
                            const MaybeTensor& bias) {
    const at::Tensor rows = flat(x).contiguous();
    context->save_for_backward({rows, w});
    context->saved_data["has_bias"] = bias.has_value();
    return with_width(linear_rows(rows, w, bias), x);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::linear has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1];
    const at::Tensor upstream = flat(outputs[0]).contiguous();
    at::Tensor grad_x, grad_w;
    if (context->needs_input_grad(0)) {
      grad_x = at::empty_like(x);
      multiply_by_weight(grad_x, upstream, w);
      grad_x = with_width(grad_x, outputs[0]);
    }
    if (context->needs_input_grad(1)) {
      grad_w = at::empty_like(w);
      multiply(grad_w, upstream.t(), x);
    }
    const bool has_bias = context->saved_data["has_bias"].toBool();
    return {grad_x, grad_w, has_bias ? sum_of_rows(upstream) : at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias) {
  if (!packs_bf16() || !has_rows({x, w}) || (bias && !has_rows({*bias})) || !w.is_contiguous() || x.numel() == 0) {
    return at::linear(x, w, bias);
  }
  if (!needs_gradient({x, w}) && !(bias && needs_gradient({*bias})))
    return with_width(linear_rows(flat(x).contiguous(), w, bias), x);
  return Linear::apply(x, w, bias);
}

}  // namespace dino

TORCH_LIBRARY_FRAGMENT(dino, library) { library.def("linear(Tensor x, Tensor w, Tensor? bias) -> Tensor"); }
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) { library.impl("linear", dino::linear); }
