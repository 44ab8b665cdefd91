/* The system's monotonic clock, in nanoseconds. */
#ifndef TREADLE_CLOCK_H
#define TREADLE_CLOCK_H

#include <stdint.h>
#include <time.h>
#ifdef _WIN32
#include <windows.h>
static inline int64_t treadle_monotonic(void)
{
    static LARGE_INTEGER frequency;
    LARGE_INTEGER ticks;
    if (frequency.QuadPart == 0)
        QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&ticks);
    int64_t seconds = ticks.QuadPart / frequency.QuadPart;
    int64_t rest = ticks.QuadPart % frequency.QuadPart;
    return seconds * 1000000000 + rest * 1000000000 / frequency.QuadPart;
}
#else
static inline int64_t treadle_monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
#endif

#endif
