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

// Collectives for tensors of a device that has none of its own, by `host`, a backend for those of the CPU.
c10::intrusive_ptr<c10d::Backend> host_backend(c10::intrusive_ptr<c10d::Backend> host, int rank, int size);

}  // namespace dino
