// Tells JavaScript which level of vector instructions an addon's loops use.
#pragma once

#include <napi.h>

#include "vectors.h"

// exports.vectors = { level, available }. Throws like vectors::chosen(): an addon that can't run at the requested level does
// not load.
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
