// C++ exceptions as JavaScript gets them: a message in plain words, and a code where another process is behind it.
#pragma once

#define NAPI_VERSION 8
#include <napi.h>

#include <exception>
#include <string>

namespace dino {

struct Problem {
  std::string message;      // one that a user can read
  std::string whole;        // as it was thrown, with frames and places
  bool is_process = false;  // from c10d or Gloo: another process is lost, silent or out of step
};

Problem describe(std::exception_ptr thrown);

// An Error with `message`; `code` is 'PROCESS' where is_process; `cause` has the whole text where that is more.
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
