// The precision of float32 products, for each of several trainings in a process.
#pragma once

namespace dino {

// Whether float32 products (matrix products and convolutions on the CPU) of this thread's operators may be computed with
// operands rounded to bfloat16. Returns the previous value.
bool allow_bf16_products(bool allowed);

// Whether the operators that run now may: to be asked within a PrecisionTurn, in any thread.
bool bf16_products();

// libtorch has one such setting per process (at::Context). During the lifetime of a PrecisionTurn it is this thread's: threads
// with the same setting run at the same time, threads with different ones take turns.
class PrecisionTurn {
 public:
  PrecisionTurn();
  ~PrecisionTurn();
  PrecisionTurn(const PrecisionTurn&) = delete;
  PrecisionTurn& operator=(const PrecisionTurn&) = delete;
};

}  // namespace dino
