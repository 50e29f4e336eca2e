// Convolutions in bfloat16 on the CPU, with their gradient:
//
//   dino::convolution(x, w, bias, stride, padding, groups)
//
// oneDNN adds to a convolution's whole gradient of weights for each image, in float32: where an image has few positions and
// there are many weights, this takes five times as long as the products. There the gradient is one product over all images: of
// the upstream gradient and the pixels that each position saw, gathered as a matrix. All else is libtorch's.
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cstring>

#include "branches.h"

namespace dino::convolution {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Positions of an image from which on oneDNN's gradient is faster: 144 with 32 to 64 channels, measured with AMX.
constexpr int64_t kFewPositions = 64;

// A square kernel, by its steps in both directions.
struct Steps {
  int64_t stride, padding;

  int64_t positions(int64_t side, int64_t kernel) const { return (side + 2 * padding - kernel) / stride + 1; }
};

// What each position sees: x (B, C, H, W) in channels-last to (B * positions, kernel rows * kernel columns * C); outside the image 0.
at::Tensor gather(const at::Tensor& x, int64_t kernel_rows, int64_t kernel_columns, Steps steps) {
  const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t rows = steps.positions(height, kernel_rows), columns = steps.positions(width, kernel_columns);
  const at::Tensor seen = at::empty({batch * rows * columns, kernel_rows * kernel_columns * channels}, x.options(),
                                    at::MemoryFormat::Contiguous);
  const auto* in = static_cast<const uint16_t*>(x.const_data_ptr());
  auto* out = static_cast<uint16_t*>(seen.data_ptr());
  const size_t bytes = channels * sizeof(uint16_t);
  at::parallel_for(0, batch * rows, 1, [&](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; line++) {
      const int64_t image = line / rows, top = line % rows * steps.stride - steps.padding;
      uint16_t* next = out + line * columns * kernel_rows * kernel_columns * channels;
      for (int64_t column = 0; column < columns; column++) {
        const int64_t left = column * steps.stride - steps.padding;
        for (int64_t i = 0; i < kernel_rows; i++) {
          for (int64_t j = 0; j < kernel_columns; j++, next += channels) {
            const int64_t y = top + i, z = left + j;
            if (y < 0 || y >= height || z < 0 || z >= width) {
              std::memset(next, 0, bytes);
            } else {
              std::memcpy(next, in + ((image * height + y) * width + z) * channels, bytes);
            }
          }
        }
      }
    }
  });
  return seen;
}

at::Tensor forward_of(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias, Steps steps, int64_t groups) {
  return at::conv2d(x, w, bias, {steps.stride, steps.stride}, {steps.padding, steps.padding}, {1, 1}, groups);
}

class OfFewPositions : public torch::autograd::Function<OfFewPositions> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& w, int64_t stride,
                            int64_t padding) {
    context->save_for_backward({x, w});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    return forward_of(x, w, {}, {stride, padding}, 1);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "dino::convolution has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1];
    const Steps steps{context->saved_data["stride"].toInt(), context->saved_data["padding"].toInt()};
    const at::Tensor upstream = outputs[0].contiguous(at::MemoryFormat::ChannelsLast);
    variable_list result(4);
    if (context->needs_input_grad(0)) {
      const std::vector<int64_t> stride(2, steps.stride), padding(2, steps.padding), ones(2, 1), zeros(2, 0);
      result[0] = std::get<0>(at::convolution_backward(upstream, x, w, std::nullopt, stride, padding, ones, false,
                                                       zeros, 1, {true, false, false}));
    }
    if (context->needs_input_grad(1)) {
      const int64_t out = w.size(0), in = w.size(1), rows = w.size(2), columns = w.size(3);
      const at::Tensor above = upstream.permute({0, 2, 3, 1}).reshape({-1, out});  // (B * positions, out)
      result[1] =
          at::mm(above.t(), gather(x, rows, columns, steps)).view({out, rows, columns, in}).permute({0, 3, 1, 2});
    }
    return result;
  }
};

bool has_few_positions(const at::Tensor& x, const at::Tensor& w, Steps steps) {
  if (x.dim() != 4 || w.dim() != 4 || steps.stride < 1) return false;  // libtorch refuses such a stride
  return steps.positions(x.size(2), w.size(2)) * steps.positions(x.size(3), w.size(3)) <= kFewPositions;
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& w, const MaybeTensor& bias, int64_t stride,
                       int64_t padding, int64_t groups) {
  const Steps steps{stride, padding};
  if (!x.is_cpu() || bias || groups != 1 || !needs_gradient({w}) || !has_few_positions(x, w, steps) ||
      !x.is_contiguous(at::MemoryFormat::ChannelsLast))
    return forward_of(x, w, bias, steps, groups);
  // as autocast has it, which leaves float64 as it is
  const bool casts = at::autocast::is_autocast_enabled(at::kCPU);
  const auto cast = [&](const at::Tensor& tensor) {
    return casts ? at::autocast::cached_cast(at::autocast::get_autocast_dtype(at::kCPU), tensor, at::kCPU) : tensor;
  };
  const at::Tensor in = cast(x), weight = cast(w);
  const bool is_bf16 = in.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kBFloat16;
  return is_bf16 ? OfFewPositions::apply(in, weight, stride, padding) : forward_of(in, weight, bias, steps, groups);
}

}  // namespace
}  // namespace dino::convolution

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def("convolution(Tensor x, Tensor w, Tensor? bias, int stride, int padding, int groups) -> Tensor");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("convolution", dino::convolution::convolution);
}
