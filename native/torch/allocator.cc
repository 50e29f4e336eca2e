// Allocates CPU tensors of 4 KiB and more from an arena that keeps its pages. A training step allocates and frees gigabytes;
// malloc gets each large block from the system and returns it, and the system clears every page again: a quarter of a step's
// time. Blocks below malloc's limit for that it searches and merges in its lists of chunks, a tenth of a small network's step.
// Here a freed block is merged with its free neighbours and reused (best fit). The arena is one reservation of address
// space; a page takes memory when it is first touched. If the reservation fails, libtorch's own allocator does everything.
#include "handle.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <sys/mman.h>
#include <unistd.h>

#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace dino {

namespace {

constexpr size_t kLeast = 4096;  // bytes; smaller blocks are malloc's, which is fast with them
constexpr size_t kGrain = 1024;  // sizes are rounded up to this, so that blocks begin at different places of a page
constexpr size_t kHugePage = 2 << 20;

class Arena {
 public:
  Arena() {
    const size_t memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t reserve = 4 * memory / kHugePage * kHugePage;
    void* got =
        mmap(nullptr, reserve + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return;
    const auto address = (reinterpret_cast<uintptr_t>(got) + kHugePage - 1) / kHugePage * kHugePage;
    begin_ = reinterpret_cast<char*>(address);
    end_ = begin_ + reserve;
#ifdef MADV_HUGEPAGE
    madvise(begin_, reserve, MADV_HUGEPAGE);
#endif
    insert(begin_, reserve);
  }

  bool holds(const void* block) const { return block >= begin_ && block < end_; }

  // nullptr when no free block is large enough.
  void* take(size_t bytes) {
    const size_t size = (bytes + kGrain - 1) / kGrain * kGrain;
    std::lock_guard<std::mutex> lock(mutex_);
    auto best = by_size_.lower_bound({size, nullptr});
    if (best == by_size_.end()) return nullptr;
    auto [free_size, block] = *best;
    remove(block, free_size);
    if (free_size > size) insert(block + size, free_size - size);
    used_[block] = size;
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
    ASAN_POISON_MEMORY_REGION(block + bytes, size - bytes);
    return block;
  }

  void give_back(void* where) {
    auto* block = static_cast<char*>(where);
    std::lock_guard<std::mutex> lock(mutex_);
    auto entry = used_.find(block);
    TORCH_INTERNAL_ASSERT(entry != used_.end(), "a block was freed twice");
    size_t size = entry->second;
    used_.erase(entry);
    ASAN_POISON_MEMORY_REGION(block, size);
    auto after = by_address_.lower_bound(block);
    if (after != by_address_.end() && after->first == block + size) {
      const size_t more = after->second;
      remove(block + size, more);
      size += more;
    }
    auto next = by_address_.lower_bound(block);
    if (next != by_address_.begin()) {
      auto [before, before_size] = *std::prev(next);
      if (before + before_size == block) {
        remove(before, before_size);
        block = before;
        size += before_size;
      }
    }
    insert(block, size);
  }

 private:
  void insert(char* block, size_t size) {
    by_address_[block] = size;
    by_size_.insert({size, block});
  }
  void remove(char* block, size_t size) {
    by_address_.erase(block);
    by_size_.erase({size, block});
  }

  char* begin_ = nullptr;
  char* end_ = nullptr;
  std::mutex mutex_;
  std::map<char*, size_t> by_address_;          // free blocks; no two touch
  std::set<std::pair<size_t, char*>> by_size_;  // the same
  std::unordered_map<char*, size_t> used_;
};

// Never destroyed: tensors outlive static destructors.
Arena& arena() {
  static auto* it = new Arena();
  return *it;
}

void release_block(void* block) {
  if (arena().holds(block)) {
    arena().give_back(block);
  } else {
    c10::free_cpu(block);
  }
}

class ArenaAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* block = bytes >= kLeast ? arena().take(bytes) : nullptr;
    if (block == nullptr) block = c10::alloc_cpu(bytes);
    return {block, block, &release_block, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_block; }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }
};

}  // namespace

void use_arena() { c10::SetCPUAllocator(new ArenaAllocator()); }

}  // namespace dino
