// The nearest orthogonal matrices, for Muon:
//
//   dino::orthogonalized(matrices, coefficients, iterations, eps)
//
// An iteration is three products of one matrix, which are too small to be divided: with single operators one thread computes
// them and the others wait. Here each thread takes whole matrices, the largest first; each is computed by one thread, so that
// the results don't depend on their number.
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/norm.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

namespace dino {
namespace {

// (R, C), R <= C
at::Tensor iterate(at::Tensor x, at::ArrayRef<double> c, int64_t iterations, double eps) {
  x = x / at::norm(x).clamp_min(eps);
  for (int64_t i = 0; i < iterations; i++) {
    const at::Tensor gram = at::mm(x, x.t());
    x = at::addmm(x, at::addmm(gram, gram, gram, c[1], c[2]), x, c[0], 1);
  }
  return x;
}

std::vector<at::Tensor> orthogonalized(at::TensorList matrices, at::ArrayRef<double> coefficients, int64_t iterations,
                                       double eps) {
  TORCH_CHECK(coefficients.size() == 3, "orthogonalized: expected 3 coefficients, got ", coefficients.size());
  const auto count = static_cast<int64_t>(matrices.size());
  std::vector<at::Tensor> results(count);
  const auto run = [&](int64_t i) {
    const at::Tensor& matrix = matrices[i];
    const bool is_tall = matrix.size(0) > matrix.size(1);
    const at::Tensor x = iterate(is_tall ? matrix.t() : matrix, coefficients, iterations, eps);
    results[i] = is_tall ? x.t() : x;
  };
  if (count == 0 || !matrices[0].is_cpu()) {
    for (int64_t i = 0; i < count; i++) run(i);
    return results;
  }
  const auto work = [&](int64_t i) {
    const auto [least, most] =
        std::minmax({matrices[i].size(0), matrices[i].size(1)});  // by value: sizes are temporary
    return least * least * (2 * most + least);
  };
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return work(a) > work(b); });
  const int64_t threads = at::get_num_threads();
  std::atomic<int64_t> next{0};
  const at::ThreadLocalState state;  // so that the other threads run in the caller's modes
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    const at::ThreadLocalStateGuard guard(state);
    for (int64_t i = next++; i < count; i = next++) run(order[i]);
  });
  return results;
}

}  // namespace
}  // namespace dino

TORCH_LIBRARY_FRAGMENT(dino, library) {
  library.def("orthogonalized(Tensor[] matrices, float[] coefficients, int iterations, float eps) -> Tensor[]");
}
TORCH_LIBRARY_IMPL(dino, CompositeImplicitAutograd, library) { library.impl("orthogonalized", dino::orthogonalized); }
