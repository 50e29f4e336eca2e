#pragma once
// Gloo's exceptions, to catch them by type: the run-time type information is libtorch_cpu's, and is compared by name.
#include <exception>
#include <stdexcept>
#include "../context.h"

namespace gloo {

struct Exception : public std::runtime_error {};      // a connection that broke, a wait that took too long
class EnforceNotMet : public std::exception {};  // two sides that no longer mean the same operation

}  // namespace gloo
