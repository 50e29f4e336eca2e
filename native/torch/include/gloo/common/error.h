#pragma once
// Gloo's exceptions, so that they can be caught by type: libtorch_cpu has their type information, which is compared by name.
#include <exception>
#include <stdexcept>
#include "../context.h"

namespace gloo {

struct Exception : public std::runtime_error {};      // a connection that broke, a wait that took too long
class EnforceNotMet : public std::exception {};  // two sides that no longer mean the same operation

}  // namespace gloo
