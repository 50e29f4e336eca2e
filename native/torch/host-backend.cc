// Collectives of a device that has none of its own: Gloo's, on copies in main memory. Each is complete when it returns.
#include "distributed.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>

namespace dino {

namespace {

using PendingWork = c10::intrusive_ptr<c10d::Work>;

class CompletedWork final : public c10d::Work {
 public:
  CompletedWork(int rank, c10d::OpType type, std::vector<at::Tensor> results)
      : Work(rank, type),
        future_(c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()),
                                                         std::vector<c10::Device>{results.at(0).device()})) {
    future_->markCompleted(c10::IValue(std::move(results)));
    finish();
  }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }

 private:
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

class HostBackend final : public c10d::Backend {
 public:
  HostBackend(c10::intrusive_ptr<c10d::Backend> host, int rank, int size)
      : Backend(rank, size), host_(std::move(host)) {}

  const std::string getBackendName() const override { return "host"; }

  PendingWork allreduce(std::vector<at::Tensor>& tensors, const c10d::AllreduceOptions& options) override {
    auto copies = on_host(tensors);
    host_->allreduce(copies, options)->wait();
    return completed(c10d::OpType::ALLREDUCE, tensors, copies);
  }

  PendingWork broadcast(std::vector<at::Tensor>& tensors, const c10d::BroadcastOptions& options) override {
    auto copies = on_host(tensors);
    host_->broadcast(copies, options)->wait();
    return completed(c10d::OpType::BROADCAST, tensors, copies);
  }

  PendingWork allgather(std::vector<std::vector<at::Tensor>>& outputs, std::vector<at::Tensor>& inputs,
                        const c10d::AllgatherOptions& options) override {
    auto from = on_host(inputs);
    std::vector<std::vector<at::Tensor>> copies = {on_host(outputs.at(0))};
    host_->allgather(copies, from, options)->wait();
    return completed(c10d::OpType::ALLGATHER, outputs[0], copies[0]);
  }

 private:
  static std::vector<at::Tensor> on_host(const std::vector<at::Tensor>& tensors) {
    std::vector<at::Tensor> copies;
    for (const auto& tensor : tensors) copies.push_back(tensor.to(at::kCPU));
    return copies;
  }

  PendingWork completed(c10d::OpType type, std::vector<at::Tensor>& tensors,
                        const std::vector<at::Tensor>& copies) const {
    for (size_t i = 0; i < tensors.size(); i++) tensors[i].copy_(copies[i]);
    return c10::make_intrusive<CompletedWork>(getRank(), type, tensors);
  }

  c10::intrusive_ptr<c10d::Backend> host_;
};

}  // namespace

c10::intrusive_ptr<c10d::Backend> host_backend(c10::intrusive_ptr<c10d::Backend> host, int rank, int size) {
  return c10::make_intrusive<HostBackend>(std::move(host), rank, size);
}

}  // namespace dino
