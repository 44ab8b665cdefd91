/* The system calls of the epoll poller. */
#ifndef TREADLE_EPOLL_H
#define TREADLE_EPOLL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

/* epoll_wait with a timeout in nanoseconds (-1: no limit). Kernels before 5.11 take whole
 * milliseconds, so it is rounded up. */
static inline int treadle_epoll_wait(int epfd, struct epoll_event *events, int size, int64_t timeout)
{
    static int no_pwait2;
    if (timeout > 0 && !no_pwait2) {
        struct timespec ts = {timeout / 1000000000, timeout % 1000000000};
        int n = syscall(SYS_epoll_pwait2, epfd, events, size, &ts, NULL, (size_t)0);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))  /* EPERM: old sandboxes */
            return n;
        no_pwait2 = 1;
    }
    int64_t ms = timeout < 0 ? -1 : (timeout + 999999) / 1000000;
    return epoll_wait(epfd, events, size, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

/* The number of forks between the process that loaded this file and the current one. A forked child
 * shares its parent's epoll sets until it has opened its own. */
static unsigned int treadle_forks;

static void treadle_count_fork(void)
{
    treadle_forks++;
}

static inline int treadle_count_forks(void)
{
    return pthread_atfork(NULL, NULL, treadle_count_fork);
}

static inline int treadle_epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epfd, op, fd, &event);
}

#endif
