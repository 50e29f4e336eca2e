// Random numbers for one of several trainings in a process.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <vector>

namespace dino {

// Replaces the default generators in this thread until leave_generators(); calls may be nested.
void enter_generators(std::vector<at::Generator> generators);
void leave_generators();

// The generator for a device in this thread: the thread's own, or libtorch's default one.
at::Generator generator_of_thread(c10::Device device);

// During its lifetime no other thread draws from the default generators, and these have the state of this thread's own ones.
// It is needed because many operators accept no generator and draw from the default one.
class RandomTurn {
 public:
  RandomTurn();
  ~RandomTurn();
  RandomTurn(const RandomTurn&) = delete;
  RandomTurn& operator=(const RandomTurn&) = delete;

 private:
  struct Swapped {
    at::Generator shared, own;
    at::Tensor before;
  };
  std::vector<Swapped> swapped_;
};

}  // namespace dino
