#include "random.h"

#include <ATen/Context.h>

#include <mutex>

namespace dino {

namespace {

std::mutex turn;
thread_local std::vector<std::vector<at::Generator>> entered;

at::Tensor state_of(at::Generator& generator) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_state(at::Generator& generator, const at::Tensor& state) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

}  // namespace

void enter_generators(std::vector<at::Generator> generators) { entered.push_back(std::move(generators)); }

void leave_generators() {
  if (!entered.empty()) entered.pop_back();
}

at::Generator generator_of_thread(c10::Device device) {
  at::Generator shared = at::globalContext().defaultGenerator(device);
  for (auto level = entered.rbegin(); level != entered.rend(); ++level)
    for (const auto& own : *level)
      if (own.device() == shared.device()) return own;
  return shared;
}

RandomTurn::RandomTurn() {
  turn.lock();
  // the innermost generator of each device wins; outer ones for that device are ignored
  for (auto level = entered.rbegin(); level != entered.rend(); ++level) {
    for (auto& own : *level) {
      at::Generator shared = at::globalContext().defaultGenerator(own.device());
      bool is_hidden = false;
      for (const auto& other : swapped_) is_hidden |= other.shared == shared;
      if (is_hidden) continue;
      swapped_.push_back({shared, own, state_of(shared)});
      set_state(shared, state_of(own));
    }
  }
}

RandomTurn::~RandomTurn() {
  for (auto& [shared, own, before] : swapped_) {
    set_state(own, state_of(shared));
    set_state(shared, before);
  }
  turn.unlock();
}

}  // namespace dino
