#include "errors.h"
#include "include/gloo/common/error.h"

#include <c10/util/Exception.h>

#include <regex>
#include <sstream>

namespace dino {

namespace {

bool is_frame(const std::string& line) {
  static const std::regex frame(
      R"(^\s*(frame #\d+: |#\d+ .* from |Exception raised from |C\+\+ CapturedTraceback:).*)");
  return std::regex_match(line, frame);
}

// A message without stack traces and source locations.
std::string without_frames(const std::string& text) {
  std::istringstream lines(text);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (is_frame(line)) continue;
    kept += kept.empty() ? line : "\n" + line;
  }
  // "[/path/pair.cc:545] " before the words, and Gloo's advice after them
  static const std::regex place(R"(\[[^\[\]\s]+\.(cc|cpp|h|hpp):\d+\] )");
  static const std::regex advice(R"(\.? This is typically caused by a remote worker[\s\S]*)");
  kept = std::regex_replace(std::regex_replace(kept, place, ""), advice, "");
  const auto end = kept.find_last_not_of(" \n\r\t");
  return end == std::string::npos ? text : kept.substr(0, end + 1);
}

}  // namespace

Problem describe(std::exception_ptr thrown) {
  const auto problem = [](const char* said, const char* whole, bool is_process) {
    return Problem{without_frames(said), whole, is_process};
  };
  try {
    std::rethrow_exception(thrown);
  } catch (const c10::DistError& error) {
    return problem(error.what_without_backtrace(), error.what(), true);
  } catch (const gloo::Exception& error) {
    return problem(error.what(), error.what(), true);
  } catch (const gloo::EnforceNotMet& error) {
    return problem(error.what(), error.what(), true);
  } catch (const c10::Error& error) {
    return problem(error.what_without_backtrace(), error.what(), false);
  } catch (const std::exception& error) {
    return problem(error.what(), error.what(), false);
  } catch (...) {
    return problem("an exception that is not a std::exception", "", false);
  }
}

Napi::Error to_error(Napi::Env env, const Problem& problem) {
  Napi::Error error = Napi::Error::New(env, problem.message);
  if (problem.is_process) error.Set("code", Napi::String::New(env, "PROCESS"));
  if (!problem.whole.empty() && problem.whole != problem.message) {
    Napi::Error cause = Napi::Error::New(env, problem.whole);
    cause.Set("stack", Napi::String::New(env, problem.whole));
    error.Set("cause", cause.Value());
  }
  return error;
}

}  // namespace dino
