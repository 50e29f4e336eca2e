// What both addons tell JavaScript of their loops.
#pragma once

#include <napi.h>

#include "vectors.h"

// exports.vectors = { level, available }. Throws as vectors::chosen() does: an addon that can't run at the level that is
// asked for does not load.
inline void export_vectors(Napi::Env env, Napi::Object exports) {
  vectors::Level level;
  try {
    level = vectors::chosen();
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
  auto available = Napi::Array::New(env);
  for (const auto one : vectors::available()) available.Set(available.Length(), vectors::name(one));
  auto result = Napi::Object::New(env);
  result.Set("level", vectors::name(level));
  result.Set("available", available);
  exports.Set("vectors", result);
}
