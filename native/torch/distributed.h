// JavaScript handles for process groups of c10d, PyTorch's engine for training in several processes.
#pragma once

#include "handle.h"

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <functional>

namespace dino {

using Group = c10::intrusive_ptr<c10d::ProcessGroup>;

// Throws when `value` is not a group, or a closed one.
Group& unwrap_group(const Napi::Value& value);
std::vector<at::Tensor> unwrap_tensors(const Napi::Value& value);

}  // namespace dino
