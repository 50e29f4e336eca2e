// A transformer without gradients, with whole images in each thread.
//
//   dino::blocks_in_groups(x, weights, heads, eps, keep, class_only)
//
// It applies to float32 on the CPU with at least two images per thread; otherwise it returns an empty list.
//
// With single operators all threads wait for each other about a hundred times per pass, and for any thread that loses its
// core for a moment, for example to a loader thread. Here each thread takes a few images through all blocks, with the same
// operators in one thread, and then the next few: the products are as fast as large ones, the values between them stay in
// the cache, and no thread waits before the end. The grouping depends only on the number of images and of threads.
#include <ATen/ThreadLocalState.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "branches.h"
#include "product.h"

namespace dino {
namespace {

constexpr int64_t kTokens = 1000;  // at most in a group: enough for a product to reach full speed
constexpr int64_t kWeights = 12;   // of a block

struct Block {
  at::Tensor norm1, norm1_bias, qkv, qkv_bias, proj, proj_bias, norm2, norm2_bias, fc1, fc1_bias, fc2, fc2_bias;

  explicit Block(const at::Tensor* w)
      : norm1(w[0]), norm1_bias(w[1]), qkv(w[2]), qkv_bias(w[3]), proj(w[4]), proj_bias(w[5]), norm2(w[6]),
        norm2_bias(w[7]), fc1(w[8]), fc1_bias(w[9]), fc2(w[10]), fc2_bias(w[11]) {}
};

// (B, N, C) to the same
at::Tensor run_attention(const Block& b, const at::Tensor& x, int64_t heads, double eps) {
  return attention_residual(x, b.norm1, b.norm1_bias, eps, b.qkv, b.qkv_bias, b.proj, b.proj_bias, heads, {}, 1);
}

// (B, N, C) to the same
at::Tensor run_perceptron(const Block& b, const at::Tensor& x, double eps) {
  return perceptron_residual(x, b.norm2, b.norm2_bias, eps, b.fc1, b.fc1_bias, b.fc2, b.fc2_bias, {}, 1);
}

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

// (B, N, C) to the class token's (B, 1, C)
at::Tensor run_class(const Block& b, const at::Tensor& x, int64_t heads, double eps) {
  const at::Tensor y = norm(x, b.norm1, b.norm1_bias, eps);
  const at::Tensor z = class_attention(y, b.qkv, b.qkv_bias, b.proj, b.proj_bias, heads).add_(x.narrow(1, 0, 1));
  return run_perceptron(b, z, eps);
}

// Tokens of the last `keep` blocks after the last norm, (B, N, C) each, the deepest last; with class_only only the class
// token, (B, 1, C).
std::vector<at::Tensor> run_all(at::Tensor x, at::TensorList weights, int64_t heads, double eps, int64_t keep,
                                bool class_only) {
  const int64_t depth = static_cast<int64_t>(weights.size()) / kWeights;
  const at::Tensor &last = weights[depth * kWeights], &last_bias = weights[depth * kWeights + 1];
  std::vector<at::Tensor> kept;
  for (int64_t i = 0; i < depth; i++) {
    const Block block(weights.data() + i * kWeights);
    x = class_only && i == depth - 1 ? run_class(block, x, heads, eps)
                                     : run_perceptron(block, run_attention(block, x, heads, eps), eps);
    if (i >= depth - keep) kept.push_back(norm(x, last, last_bias, eps).contiguous());
  }
  return kept;
}

std::vector<at::Tensor> blocks_in_groups(const at::Tensor& tokens, at::TensorList weights, int64_t heads, double eps,
                                         int64_t keep, bool class_only) {
  const int64_t threads = at::get_num_threads(), depth = static_cast<int64_t>(weights.size()) / kWeights;
  TORCH_CHECK(weights.size() == static_cast<size_t>(depth * kWeights + 2) && depth >= 1, "blocks_in_groups: expected ",
              kWeights, " weights per block and 2 for the last norm");
  TORCH_CHECK(tokens.dim() == 3, "blocks_in_groups: expected tokens (B, N, C), got ", tokens.sizes());
  if (at::GradMode::is_enabled() || !has_rows({tokens, weights[0]}) || tokens.size(0) < 2 * threads ||
      tokens.size(1) == 0)
    return {};
  const at::Tensor x = tokens.contiguous();
  const int64_t batch = x.size(0), width = x.size(2);
  TORCH_CHECK(keep >= 1 && keep <= depth && (!class_only || keep == 1), "blocks_in_groups: can't keep ", keep);
  const int64_t largest = std::max<int64_t>(1, kTokens / x.size(1));
  const int64_t rounds = (batch + largest * threads - 1) / (largest * threads);
  const int64_t groups = std::min(batch, rounds * threads);

  const int64_t rows = class_only ? 1 : x.size(1);
  std::vector<at::Tensor> result;
  for (int64_t i = 0; i < keep; i++) result.push_back(at::empty({batch, rows, width}, x.options()));
  std::vector<float*> out;
  for (const auto& tensor : result) out.push_back(tensor.data_ptr<float>());

  std::atomic<int64_t> next{0};
  const at::ThreadLocalState state;  // so that the other threads run in the caller's modes
  const PackedWeightsGuard packed;
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    const at::ThreadLocalStateGuard guard(state);
    const PackedWeightsGuard shared(packed.weights());
    for (int64_t group = next++; group < groups; group = next++) {
      const int64_t from = batch * group / groups, to = batch * (group + 1) / groups;
      const auto kept = run_all(x.narrow(0, from, to - from), weights, heads, eps, keep, class_only);
      for (size_t i = 0; i < kept.size(); i++) {
        // a block's operators broadcast: wider weights could make more of tokens than there were
        TORCH_CHECK(kept[i].numel() == (to - from) * rows * width, "blocks_in_groups: a block made ", kept[i].sizes(),
                    " of tokens (", to - from, ", ", x.size(1), ", ", width, ")");
        std::memcpy(out[i] + from * rows * width, kept[i].const_data_ptr<float>(), kept[i].numel() * sizeof(float));
      }
    }
  });
  return result;
}

}  // namespace
}  // namespace dino

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def(
      "blocks_in_groups(Tensor x, Tensor[] weights, int heads, float eps, int keep, bool class_only) -> Tensor[]");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) {
  library.impl("blocks_in_groups", dino::blocks_in_groups);
}
