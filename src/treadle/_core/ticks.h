/* A counter that is cheap to read: it decides how often to check timers and the poller, and is not
   used to tell the time. */
#ifndef TREADLE_TICKS_H
#define TREADLE_TICKS_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <x86intrin.h>
/* Time-stamp counters run at 2 to 4 GHz. */
static inline uint64_t treadle_ticks(void) { return __rdtsc(); }
static inline uint64_t treadle_ticks_per_20us(void) { return 50000; }
#else
#include "clock.h"
static inline uint64_t treadle_ticks(void) { return (uint64_t)treadle_monotonic(); }
static inline uint64_t treadle_ticks_per_20us(void) { return 20000; }
#endif

#endif
