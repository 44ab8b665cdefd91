/* Whether a call on a descriptor would block, a wait that blocks the thread, and how many bytes a
   pipe that is ready takes. */
#ifndef TREADLE_READY_H
#define TREADLE_READY_H

#ifdef _WIN32
/* Windows can poll only sockets, and those are not read as files. */
enum { TREADLE_PIPE_BUF = 512 };
static inline int treadle_would_wait(int fd, int writing)
{
    return 0;
}
static inline int treadle_poll(int fd, int writing, int ms)
{
    return 1;
}
static inline int treadle_fd_waits(int fd)
{
    return 1;
}
static inline int treadle_takes_parts(int fd)
{
    return 0;
}
static inline int treadle_had_writer(int fd)
{
    return 1;
}
#else
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "blocking.h"
#ifndef PIPE_BUF
#define PIPE_BUF _POSIX_PIPE_BUF
#endif
enum { TREADLE_PIPE_BUF = PIPE_BUF };
/* Block for at most `ms` milliseconds (-1: no limit). Returns 1, or 0 after that time, or -1 with
   errno. */
static inline int treadle_poll(int fd, int writing, int ms)
{
    struct pollfd asked = {.fd = fd, .events = writing ? POLLOUT : POLLIN};
    int n = poll(&asked, 1, ms);
    if (n > 0 && asked.revents & POLLNVAL) {
        errno = EBADF;
        return -1;
    }
    return n;
}
/* Whether calls on a descriptor shall wait, or -1 with errno. */
static inline int treadle_fd_waits(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : treadle_waits(flags);
}
/* Whether the data of one write may be given to a descriptor in parts: it is a pipe, a terminal or a
   stream socket. Others keep the limits of each write, as datagrams do, or never wait. */
static inline int treadle_takes_parts(int fd)
{
    struct stat status;
    int type;
    socklen_t size = sizeof type;
    if (fstat(fd, &status) != 0)
        return 0;
    if (S_ISSOCK(status.st_mode))
        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
    return S_ISFIFO(status.st_mode) || (S_ISCHR(status.st_mode) && isatty(fd));
}
/* Whether a FIFO, opened for reading in non-blocking mode, has or had a writer since then. */
static inline int treadle_had_writer(int fd)
{
    void *volatile nowhere = NULL;
    struct pollfd asked = {.fd = fd, .events = POLLIN};
#ifdef __linux__ /* others report the end of a FIFO that had no writer yet */
    if (poll(&asked, 1, 0) != 0)
        return 1;
#endif
    (void)asked;
    /* 0: there is no writer. EAGAIN: there is one. EFAULT: there are data, and they stay there. */
    return read(fd, nowhere, 1) != 0;
}
/* Returns 0 for a descriptor that is closed, fails or is the wrong end of a pipe: the call itself
   raises the error. Also 0 for a non-blocking descriptor, unless it blocks for others than treadle. */
static inline int treadle_would_wait(int fd, int writing)
{
    struct pollfd asked = {.fd = fd, .events = writing ? POLLOUT : POLLIN};
    int flags;
    if (poll(&asked, 1, 0) != 0)
        return 0;
    flags = fcntl(fd, F_GETFL);
    return flags >= 0 && treadle_waits(flags)
           && (flags & O_ACCMODE) != (writing ? O_RDONLY : O_WRONLY);
}
#endif

#endif
