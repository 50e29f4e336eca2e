// Matrix products, and a linear layer's:
//
//   dino::linear(x, w, bias)    x w^T + bias, with its gradient
//   dino::patches(x, w, bias)   the convolution of an image's patches, whose stride is its size: a product of their pixels in bfloat16
//
// They are libtorch's, but for two cases in which oneDNN's kernel for blocks, which libtorch exports, is much faster. Then the
// operands are packed here, and it multiplies them:
//
// - float32, with AVX-512 on a processor that is not Intel's: libtorch leaves these to MKL, which has only AVX2 for it;
// - operands rounded to bfloat16, where float32 products may be computed so (precision.h), with avx512_bf16: oneDNN has whole
//   products of float32 matrices in bfloat16 only with AMX, and there they are slower (docs/performance.md).
//
// Each number of a result is computed in the same order whatever the number of threads.
#include "product.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "branches.h"
#include "precision.h"

namespace dino {

namespace {

bool has_instructions(const char* name) {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto found = capabilities.find(name);
  return found != capabilities.end() && found->second.toBool();
}

bool is_intel() {
#if defined(__x86_64__)
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

// The most instructions that oneDNN may use, by its environment variables (as bf16.ts reads them); empty: all.
std::string_view onednn_limit() {
  for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}) {
    const char* most = std::getenv(name);
    if (most != nullptr && *most != '\0') return std::string_view(most) == "DEFAULT" ? std::string_view() : most;
  }
  return {};
}

bool packs_float32() {
  static const bool can =
      !is_intel() && has_bf16_loops() && (onednn_limit().empty() || onednn_limit().substr(0, 6) == "AVX512");
  return can && !bf16_products();
}

}  // namespace

bool packs_bf16() {
  static const bool can = has_instructions("avx512_bf16");
  return can && bf16_products();
}

bool has_amx() {
  static const bool has = has_bf16_loops() && has_instructions("amx_bf16") &&
                          (onednn_limit().empty() || onednn_limit().find("AMX") != std::string_view::npos) &&
                          at::cpu::init_amx();  // asks the system for it
  return has;
}

bool packs() { return packs_bf16() || packs_float32(); }

namespace {

// A block of the result. In the packed operand of bfloat16 a row of pairs has 16, 32, 48 or 64 of them.
constexpr int64_t kRows = 64, kColumns = 64;
constexpr int64_t kPadding = 16;  // so that rows of a block are not a power of two apart

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
int64_t panel_width(int64_t columns) { return blocks(columns, 16) * 16; }

template <typename T>
struct LeftBlock {
  const T* rows;
  int64_t stride;
};

// How operands are packed. kDepth is the inner length of a block: its two operands fit in a core's second-level cache.
struct Float32 {
  using Number = float;
  static constexpr int64_t kDepth = 512;

  static int64_t padded(int64_t depth) { return depth; }

  // scale * rows [row, row + height) and columns [k, k + depth) of a, which are packed only where they must be
  static LeftBlock<float> left(const at::Tensor& a, float scale, int64_t row, int64_t height, int64_t k, int64_t depth,
                               float* packed) {
    const float* from = a.const_data_ptr<float>() + row * a.stride(0) + k * a.stride(1);
    const int64_t stride = depth + kPadding;
    if (a.stride(1) != 1) {
      pack_loops().transpose(from, a.stride(1), scale, packed, stride, height, depth);
    } else if (scale == 1) {
      return {from, a.stride(0)};
    } else {
      for (int64_t r = 0; r < height; r++)
        pack_loops().scale(from + r * a.stride(0), scale, packed + r * stride, depth);
    }
    return {packed, stride};
  }

  // x (rows, columns), to rows that are `width` apart
  static void panel(const float* x, int64_t stride, float* out, int64_t width, int64_t columns, int64_t rows) {
    for (int64_t r = 0; r < rows; r++) std::copy_n(x + r * stride, columns, out + r * width);
  }
  // the transpose of x (rows, columns)
  static void transposed_panel(const float* x, int64_t stride, float* out, int64_t width, int64_t rows,
                               int64_t columns) {
    pack_loops().transpose(x, stride, 1, out, width, columns, rows);
  }
};

// Numbers of two consecutive rows of the right operand stand beside each other; an odd depth is padded with 0.
struct Bf16 {
  using Number = at::BFloat16;
  static constexpr int64_t kDepth = 1024;

  static int64_t padded(int64_t depth) { return depth + depth % 2; }

  static LeftBlock<at::BFloat16> left(const at::Tensor& a, float scale, int64_t row, int64_t height, int64_t k,
                                      int64_t depth, at::BFloat16* packed) {
    const float* from = a.const_data_ptr<float>() + row * a.stride(0) + k * a.stride(1);
    const int64_t stride = padded(depth) + 2 * kPadding;
    auto* to = reinterpret_cast<uint16_t*>(packed);
    if (a.stride(1) != 1) {
      pack_loops().round_columns(from, a.stride(1), scale, to, stride, height, depth);
    } else {
      for (int64_t r = 0; r < height; r++) pack_loops().round(from + r * a.stride(0), scale, to + r * stride, depth);
    }
    return {packed, stride};
  }

  static void panel(const float* x, int64_t stride, at::BFloat16* out, int64_t width, int64_t columns, int64_t rows) {
    pack_loops().pair_rows(x, stride, reinterpret_cast<uint32_t*>(out), width, columns, rows);
  }
  static void transposed_panel(const float* x, int64_t stride, at::BFloat16* out, int64_t width, int64_t rows,
                               int64_t columns) {
    pack_loops().pair_columns(x, stride, reinterpret_cast<uint32_t*>(out), width, rows, columns);
  }
};

at::Tensor scratch(int64_t size, at::ScalarType type) { return at::empty({size}, at::TensorOptions().dtype(type)); }

// Rows [k, k + depth) of a panel of b (K, N): of kColumns columns, or those that are left.
template <typename Kind>
void pack_panel(const at::Tensor& b, int64_t panel, int64_t k, int64_t depth, typename Kind::Number* to) {
  const int64_t first = panel * kColumns, width = std::min(kColumns, b.size(1) - first);
  const float* from = b.const_data_ptr<float>() + k * b.stride(0) + first * b.stride(1);
  if (b.stride(0) == 1 && b.stride(1) != 1) {
    Kind::transposed_panel(from, b.stride(1), to, panel_width(width), width, depth);
  } else {
    Kind::panel(from, b.stride(0), to, panel_width(width), width, depth);
  }
}

// b (K, N), in panels.
template <typename Kind>
at::Tensor pack_panels(const at::Tensor& b) {
  using Number = typename Kind::Number;
  const int64_t depth = b.size(0), size = Kind::padded(depth) * kColumns, panels = blocks(b.size(1), kColumns);
  at::Tensor packed = scratch(panels * size, c10::CppTypeToScalarType<Number>::value);
  auto* to = static_cast<Number*>(packed.data_ptr());
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; p++) pack_panel<Kind>(b, p, 0, depth, to + p * size);
  });
  return packed;
}

thread_local PackedWeights* weights_in_use = nullptr;

// out = (adds ? out : 0) + alpha * a b, b packed in panels. A thread computes consecutive blocks of the result, those of the
// same rows one after another, and packs these rows for itself, into its cache.
template <typename Kind>
void multiply_panels(const at::Tensor& out, const at::Tensor& a, const at::Tensor& packed, bool adds, float alpha) {
  using Number = typename Kind::Number;
  constexpr auto type = c10::CppTypeToScalarType<Number>::value;
  const int64_t rows = a.size(0), depth = a.size(1), columns = out.size(1), panels = blocks(columns, kColumns);
  const Number* right = packed.const_data_ptr<Number>();
  const int64_t panel_size = Kind::padded(depth) * kColumns, ld = out.stride(0);
  float* to = out.data_ptr<float>();
  at::parallel_for(0, blocks(rows, kRows) * panels, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor own = scratch(kRows * (Kind::kDepth + 2 * kPadding), type);
    auto* const space = static_cast<Number*>(own.data_ptr());
    for (int64_t block = begin, next; block < end; block = next) {
      const int64_t row = block / panels * kRows, height = std::min(kRows, rows - row);
      next = std::min(end, (block / panels + 1) * panels);
      for (int64_t k = 0; k < depth; k += Kind::kDepth) {
        const int64_t n = std::min(Kind::kDepth, depth - k);
        const auto left = Kind::left(a, alpha, row, height, k, n, space);
        for (int64_t i = block; i < next; i++) {
          const int64_t panel = i % panels, width = std::min(kColumns, columns - panel * kColumns);
          const int64_t stride = panel_width(width);
          at::native::cpublas::brgemm(height, width, Kind::padded(n), left.stride, stride, ld, adds || k > 0, left.rows,
                                      right + panel * panel_size + k * stride, to + row * ld + panel * kColumns);
        }
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

// The same for few rows and a b that is used once: each thread packs some panels at a time, which stay in its cache, and multiplies
// all rows by them. The sums have the same order.
template <typename Kind>
void multiply_few_rows(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool adds, float alpha) {
  using Number = typename Kind::Number;
  constexpr auto type = c10::CppTypeToScalarType<Number>::value;
  constexpr int64_t kCached = 512 * 1024 / sizeof(Number);  // numbers of b at a time, at most
  const int64_t rows = a.size(0), depth = a.size(1), columns = b.size(1), ld = out.stride(0);
  const int64_t panel_size = Kind::padded(std::min(depth, Kind::kDepth)) * kColumns;
  float* to = out.data_ptr<float>();
  at::parallel_for(0, blocks(columns, kColumns), 1, [&](int64_t begin, int64_t end) {
    const int64_t most = std::clamp<int64_t>(kCached / panel_size, 1, end - begin);
    const at::Tensor own = scratch(kRows * (Kind::kDepth + 2 * kPadding), type),
                     packed = scratch(most * panel_size, type);
    auto *const space = static_cast<Number*>(own.data_ptr()), *const right = static_cast<Number*>(packed.data_ptr());
    for (int64_t first = begin; first < end; first += most) {
      const int64_t some = std::min(most, end - first);
      for (int64_t k = 0; k < depth; k += Kind::kDepth) {
        const int64_t n = std::min(Kind::kDepth, depth - k);
        for (int64_t i = 0; i < some; i++) pack_panel<Kind>(b, first + i, k, n, right + i * panel_size);
        for (int64_t row = 0; row < rows; row += kRows) {
          const int64_t height = std::min(kRows, rows - row);
          const auto left = Kind::left(a, alpha, row, height, k, n, space);
          for (int64_t i = 0; i < some; i++) {
            const int64_t column = (first + i) * kColumns, width = std::min(kColumns, columns - column);
            at::native::cpublas::brgemm(height, width, Kind::padded(n), left.stride, panel_width(width), ld,
                                        adds || k > 0, left.rows, right + i * panel_size, to + row * ld + column);
          }
        }
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

template <typename Kind>
at::Tensor packed_panels(const at::Tensor& b, bool is_weight) {
  return is_weight && weights_in_use ? weights_in_use->find(b, pack_panels<Kind>) : pack_panels<Kind>(b);
}

template <typename Kind>
void multiply_packed(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool is_weight, bool adds,
                     float alpha) {
  constexpr int64_t kFewRows = 2 * kRows;
  if (a.size(0) <= kFewRows && !(is_weight && weights_in_use)) return multiply_few_rows<Kind>(out, a, b, adds, alpha);
  multiply_panels<Kind>(out, a, packed_panels<Kind>(b, is_weight), adds, alpha);
}

void multiply_either(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool is_weight, double beta,
                     double alpha) {
  // whatever multiplies: ours reads and writes by these sizes, and libtorch would give `out` another size
  TORCH_CHECK(a.size(1) == b.size(0) && out.size(0) == a.size(0) && out.size(1) == b.size(1),
              "internal: the product of ", a.sizes(), " and ", b.sizes(), " is not ", out.sizes());
  at::Tensor result = out;
  if (!packs() || out.numel() == 0 || a.size(1) == 0) {
    if (beta == 0 && alpha == 1) {
      at::mm_out(result, a, b);
    } else {
      at::addmm_out(result, result, a, b, beta, alpha);
    }
    return;
  }
  if (beta != 0 && beta != 1) result.mul_(beta);
  const auto product = packs_bf16() ? multiply_packed<Bf16> : multiply_packed<Float32>;
  product(out, a, b, is_weight, beta != 0, static_cast<float>(alpha));
}

int64_t left_stride(int64_t depth) { return Bf16::padded(depth) + 2 * kPadding; }

}  // namespace

void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta, double alpha) {
  multiply_either(out, a, b, false, beta, alpha);
}

void multiply_by_weight(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, double beta, double alpha) {
  multiply_either(out, a, b, true, beta, alpha);
}

RowProduct::RowProduct(const at::Tensor& b, int64_t depth, int64_t columns)
    : packed_(packed_panels<Bf16>(b, true)), depth_(depth), columns_(columns) {
  TORCH_CHECK(b.size(0) == depth && b.size(1) == columns, "internal: a weight of ", b.sizes(), " multiplies rows of ",
              depth, " to rows of ", columns);
}

int64_t RowProduct::left_size(int64_t rows) const { return rows * left_stride(depth_) * sizeof(at::BFloat16); }

void RowProduct::round(const float* x, int64_t stride, float scale, int64_t height, void* left) const {
  auto* to = static_cast<uint16_t*>(left);
  for (int64_t r = 0; r < height; r++) pack_loops().round(x + r * stride, scale, to + r * left_stride(depth_), depth_);
}

void RowProduct::multiply(const void* left, int64_t height, float* out, int64_t stride, bool adds) const {
  const auto* rows = static_cast<const at::BFloat16*>(left);
  const auto* right = packed_.const_data_ptr<at::BFloat16>();
  const int64_t panel_size = Bf16::padded(depth_) * kColumns;
  for (int64_t k = 0; k < depth_; k += Bf16::kDepth) {
    const int64_t n = Bf16::padded(std::min(Bf16::kDepth, depth_ - k));
    for (int64_t panel = 0; panel * kColumns < columns_; panel++) {
      const int64_t width = std::min(kColumns, columns_ - panel * kColumns), ld = panel_width(width);
      at::native::cpublas::brgemm(height, width, n, left_stride(depth_), ld, stride, adds || k > 0, rows + k,
                                  right + panel * panel_size + k * ld, out + panel * kColumns);
    }
  }
}

RightOperand::RightOperand(int64_t rows, int64_t columns)
    : rows_(rows), columns_(columns),
      packed_(scratch(blocks(columns, kColumns) * Bf16::padded(rows) * kColumns, at::kBFloat16)) {}

void RightOperand::put(const float* x, int64_t stride, int64_t row, int64_t height) const {
  auto* const to = static_cast<at::BFloat16*>(packed_.data_ptr());
  for (int64_t panel = 0; panel * kColumns < columns_; panel++) {
    const int64_t width = std::min(kColumns, columns_ - panel * kColumns), ld = panel_width(width);
    Bf16::panel(x + panel * kColumns, stride, to + panel * Bf16::padded(rows_) * kColumns + row * ld, ld, width,
                height);
  }
}

void RightOperand::multiply(const at::Tensor& out, const at::Tensor& a, bool adds, double alpha) const {
  TORCH_CHECK(a.size(1) == rows_ && out.size(0) == a.size(0) && out.size(1) == columns_, "internal: the product of ",
              a.sizes(), " and ", rows_, " x ", columns_, " is not ", out.sizes());
  multiply_panels<Bf16>(out, a, packed_, adds, static_cast<float>(alpha));
}

bool has_row_products(int64_t rows) { return packs_bf16() && rows >= 2 * kRows * at::get_num_threads(); }

void each_block(int64_t rows, const BlockPlan& plan,
                const std::function<void(int64_t row, int64_t height, int64_t part, char* memory)>& fn) {
  const int64_t parts = at::get_num_threads(), height = plan.rows(), all = blocks(rows, height);
  at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    const at::Tensor memory = scratch(plan.size(), at::kByte);
    for (int64_t part = from; part < to; part++)
      for (int64_t i = all * part / parts; i < all * (part + 1) / parts; i++)
        fn(i * height, std::min(height, rows - i * height), part, static_cast<char*>(memory.data_ptr()));
    at::native::cpublas::brgemm_release();
  });
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

// libtorch's operator takes other shapes, such as a bias that is the same for all, or says what is wrong with them.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias) {
  if (!packs() || !has_rows({x, w}) || !is_linear(x, w, bias) || !w.is_contiguous() || x.numel() == 0) {
    return at::linear(x, w, bias);
  }
  if (!needs_gradient({x, w}) && !(bias && needs_gradient({*bias})))
    return with_width(linear_rows(flat(x).contiguous(), w, bias), x);
  return Linear::apply(x, w, bias);
}

// (B, C, H, W) to (B, patches, D), by w (D, C, P, P)
at::Tensor patches(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias) {
  const int64_t size = w.size(2);
  const bool fits = x.dim() == 4 && w.dim() == 4 && x.size(1) == w.size(1) && size == w.size(3) && size > 0 &&
                    x.size(2) >= size && x.size(3) >= size && (!bias || is_row(*bias, w.size(0)));
  if (!packs_bf16() || !has_rows({x, w}) || !fits) return at::conv2d(x, w, bias, size).flatten(2).transpose(1, 2);
  const int64_t batch = x.size(0), channels = x.size(1), down = x.size(2) / size, across = x.size(3) / size;
  const at::Tensor pixels = x.narrow(2, 0, down * size)
                                .narrow(3, 0, across * size)
                                .reshape({batch, channels, down, size, across, size})
                                .permute({0, 2, 4, 1, 3, 5})
                                .reshape({batch, down * across, channels * size * size});
  return dino::linear(pixels, w.flatten(1), bias);
}

}  // namespace dino

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def("linear(Tensor x, Tensor w, Tensor? bias) -> Tensor");
  library.def("patches(Tensor x, Tensor w, Tensor? bias) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("linear", dino::linear);
  library.impl("patches", dino::patches);
}
