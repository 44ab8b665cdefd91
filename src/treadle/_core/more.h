/* Parts of a message: the system may hold back one after which more follows at once, to send them
 * together. It does so for 0.2 seconds at the most. */
#ifndef TREADLE_MORE_H
#define TREADLE_MORE_H

#include <sys/socket.h>
#ifdef __linux__
#include <netinet/in.h>
#include <netinet/tcp.h>
enum { TREADLE_MORE = MSG_MORE };

/* Send what a TCP socket holds back. */
static inline void treadle_push(int fd)
{
    int held = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &held, sizeof held);
}
#else
enum { TREADLE_MORE = 0 };

static inline void treadle_push(int fd)
{
}
#endif
#endif
