// Chooses the level of vector instructions for our own loops: the machine's best, or the one that the environment variable
// DINO_VECTORS requests, so that the other levels can be tested.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace vectors {

// The levels of the System V ABI for x86-64 that our loops use; other processors have only the first.
enum class Level { kBase, kV3, kV4 };

inline const char* name(Level level) { return level == Level::kV4 ? "v4" : level == Level::kV3 ? "v3" : "base"; }

inline bool has(Level level) {
  if (level == Level::kBase) return true;
#if defined(__x86_64__)
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  if (level == Level::kV3) return v3;
  return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
#else
  return false;
#endif
}

// The levels that this machine supports, the best last.
inline std::vector<Level> available() {
  std::vector<Level> levels;
  for (const Level level : {Level::kBase, Level::kV3, Level::kV4})
    if (has(level)) levels.push_back(level);
  return levels;
}

// Throws when DINO_VECTORS is not a level, or one that the machine doesn't support. `portable` is another name for base: code
// without intrinsics, using only instructions that every processor of the architecture has.
inline Level chosen() {
  const std::vector<Level> levels = available();
  const char* wish = std::getenv("DINO_VECTORS");
  if (wish == nullptr || *wish == '\0') return levels.back();
  const std::string_view wanted = wish;
  if (wanted == "portable") return Level::kBase;
  std::string has;
  for (const Level level : levels) {
    if (wanted == name(level)) return level;
    has += std::string(name(level)) + ", ";
  }
  const bool is_known = wanted == "v3" || wanted == "v4";
  throw std::runtime_error("DINO_VECTORS=" + std::string(wanted) +
                           (is_known ? " is not supported by this machine" : " is not a level of vector instructions") +
                           ": this machine supports " + has +
                           "portable (another name for base). Unset it to use the best.");
}

template <typename T>
const T& pick(const T& base, const T& v3, const T& v4) {
  const Level level = chosen();
  return level == Level::kV4 ? v4 : level == Level::kV3 ? v3 : base;
}

}  // namespace vectors
