#include "precision.h"

#include <ATen/Context.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace dino {

namespace {

thread_local bool wanted = false;  // of this thread's operators; false: full float32

std::mutex mutex;
std::condition_variable changed;
std::atomic<bool> current{false};  // what at::Context says
int running = 0;                   // operators, all of them with the current setting
int waiting[2] = {0, 0};           // threads, by what they want

void apply(bool bf16) {
  current = bf16;
  const auto precision = bf16 ? at::Float32Precision::BF16 : at::Float32Precision::NONE;
  for (const auto op : {at::Float32Op::MATMUL, at::Float32Op::CONV})
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, op, precision);
}

}  // namespace

bool allow_bf16_products(bool allowed) {
  const bool before = wanted;
  wanted = allowed;
  return before;
}

bool bf16_products() { return current; }

PrecisionTurn::PrecisionTurn() {
  std::unique_lock<std::mutex> lock(mutex);
  if (wanted != current) {
    waiting[wanted]++;
    // when nothing runs, the turn may still belong to threads that have been waiting for it
    changed.wait(lock, [] { return wanted == current || (running == 0 && waiting[current] == 0); });
    waiting[wanted]--;
    if (wanted != current) apply(wanted);
  }
  running++;
}

PrecisionTurn::~PrecisionTurn() {
  std::lock_guard<std::mutex> lock(mutex);
  if (--running > 0 || waiting[!current] == 0) return;
  apply(!current);
  changed.notify_all();
}

}  // namespace dino
