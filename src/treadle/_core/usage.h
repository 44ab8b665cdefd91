/* What a thread has used of the processor, and how often it waited. */
#ifndef TREADLE_USAGE_H
#define TREADLE_USAGE_H

#include <stdint.h>
#include <time.h>
#if defined(__linux__)
#include <sys/resource.h>
#endif

/* Set nanoseconds of processor time, and how often the thread gave up the processor to wait: -1 if
 * the system does not tell. */
static inline void treadle_usage(int64_t *used, int64_t *waits)
{
    *used = 0;
    *waits = -1;
#if defined(__linux__) && defined(RUSAGE_THREAD)
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0) {
        *used = (usage.ru_utime.tv_sec + (int64_t)usage.ru_stime.tv_sec) * 1000000000
            + (usage.ru_utime.tv_usec + (int64_t)usage.ru_stime.tv_usec) * 1000;
        *waits = usage.ru_nvcsw;
    }
#elif defined(CLOCK_THREAD_CPUTIME_ID)
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0)
        *used = now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
#endif
}

#endif
