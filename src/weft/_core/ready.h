/* Whether a call on a descriptor would have to wait, and how much a pipe that is ready takes. */
#ifndef WEFT_READY_H
#define WEFT_READY_H

#ifdef _WIN32
/* Only sockets can be asked there, and they are not read as files. */
enum { WEFT_PIPE_BUF = 512 };
static inline int weft_is_ready(int fd, int writing)
{
    return 1;
}
#else
#include <limits.h>
#include <poll.h>
#ifndef PIPE_BUF
#define PIPE_BUF _POSIX_PIPE_BUF
#endif
enum { WEFT_PIPE_BUF = PIPE_BUF };
/* True for what is closed or fails, too: the call itself says so. */
static inline int weft_is_ready(int fd, int writing)
{
    struct pollfd asked = {.fd = fd, .events = writing ? POLLOUT : POLLIN};
    return poll(&asked, 1, 0) != 0;
}
#endif

#endif
