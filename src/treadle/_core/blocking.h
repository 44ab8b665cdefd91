/* Whether the system's socket is a blocking one.
 *
 * It is not while treadle uses it: libraries in C that work on its descriptor rely on that. But where
 * the timeout is None, a child or other code that gets the descriptor must find it as the standard
 * library leaves it, blocking. So the open file itself is marked: O_NOATIME, which means nothing on a
 * socket, tells that O_NONBLOCK is treadle's. The mark stays with the file through dup() and fork(). */
#ifndef TREADLE_BLOCKING_H
#define TREADLE_BLOCKING_H

#include <sys/socket.h>
#ifdef __linux__
#include <fcntl.h>
/* Neither constant is declared without _GNU_SOURCE. */
#ifndef O_NOATIME
#define O_NOATIME __O_NOATIME
#endif
enum { TREADLE_DONTWAIT = MSG_DONTWAIT, TREADLE_MARK = O_NOATIME };
#else
/* Not every call that may block supports the flag, and there is no mark. */
#include <fcntl.h>
enum { TREADLE_DONTWAIT = 0, TREADLE_MARK = 0 };
#endif

/* Make a socket non-blocking; mark it if it shall block for others. Returns -1 with errno, 1 if it was
 * non-blocking and not marked before, and 0 otherwise.
 *
 * Only the socket's owner may mark it. That of another user stays as it is, unless it `must` not
 * block. */
static inline int treadle_unblock(int fd, int blocks_for_others, int must)
{
    int flags = fcntl(fd, F_GETFL), wanted;
    if (flags < 0)
        return -1;
    wanted = (flags & ~TREADLE_MARK) | O_NONBLOCK | (blocks_for_others ? TREADLE_MARK : 0);
    if (wanted == flags || fcntl(fd, F_SETFL, wanted) == 0)
        return TREADLE_MARK && (flags & (O_NONBLOCK | TREADLE_MARK)) == O_NONBLOCK;
    return must || !TREADLE_MARK ? fcntl(fd, F_SETFL, flags | O_NONBLOCK) : 0;
}

/* Whether calls on a file with these flags shall wait: it is blocking, or O_NONBLOCK is treadle's. */
static inline int treadle_waits(int flags)
{
    return !(flags & O_NONBLOCK) || flags & TREADLE_MARK;
}

/* Make a marked socket blocking again, for others. Returns whether it was marked. */
static inline int treadle_hand_over(int fd)
{
    int flags = fcntl(fd, F_GETFL), ours = O_NONBLOCK | TREADLE_MARK;
    if (!TREADLE_MARK || flags < 0 || (flags & ours) != ours)
        return 0;
    fcntl(fd, F_SETFL, flags & ~ours);
    return 1;
}

#endif
