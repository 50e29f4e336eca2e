// Random numbers of one training among several in a process.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <vector>

namespace dino {

// Generators that stand for the default ones in this thread, from here to leave_generators(); they may be nested.
void enter_generators(std::vector<at::Generator> generators);
void leave_generators();

// What draws for a device in this thread: its own generator, or libtorch's default one.
at::Generator generator_of_thread(c10::Device device);

// While it lives, no other thread draws from the default generators, and these are where this thread's own ones are. Many
// operators take no generator: the default one is what they draw from.
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
