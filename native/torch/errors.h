// Turns C++ exceptions into JavaScript errors: a message in plain words, and a code if another process caused it.
#pragma once

#define NAPI_VERSION 8
#include <napi.h>

#include <exception>
#include <string>

namespace dino {

struct Problem {
  std::string message;      // for the user
  std::string whole;        // as thrown, with stack frames and source locations
  bool is_process = false;  // from c10d or Gloo: another process is lost, silent or out of step
};

Problem describe(std::exception_ptr thrown);

// An Error with `message`; `code` is 'PROCESS' if is_process; `cause` has the whole text if that is longer.
Napi::Error to_error(Napi::Env env, const Problem& problem);

}  // namespace dino

#define DINO_TRY try {
#define DINO_CATCH(env)                                                  \
  }                                                                      \
  catch (const Napi::Error&) {                                           \
    throw;                                                               \
  }                                                                      \
  catch (...) {                                                          \
    throw dino::to_error(env, dino::describe(std::current_exception())); \
  }
