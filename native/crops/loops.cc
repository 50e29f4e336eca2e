// Chooses the loops of the level in use.
#include "loops.h"

namespace crops {

#define CROPS_LEVEL(level)                                    \
  namespace level {                                           \
  extern const ColorLoops color_loops;                        \
  extern const BlurLoops blur_loops;                          \
  extern const ResampleLoops resample_loops;                  \
  const Loops loops{color_loops, blur_loops, resample_loops}; \
  }
CROPS_LEVEL(base)
#if defined(__x86_64__)
CROPS_LEVEL(v3)
CROPS_LEVEL(v4)
#endif

const Loops& loops() {
#if defined(__x86_64__)
  static const Loops& chosen = vectors::pick(base::loops, v3::loops, v4::loops);
#else
  static const Loops& chosen = vectors::pick(base::loops, base::loops, base::loops);
#endif
  return chosen;
}

}  // namespace crops
