/* Whether the system's socket is a blocking one.
 *
 * It is not while treadle uses it: libraries in C that work on its descriptor rely on that. But where
 * the timeout is None, a child or other code that gets the descriptor must find it as the standard
 * library leaves it, blocking. So the open file itself is marked: O_NOATIME, which means nothing on a
 * socket, tells that O_NONBLOCK is treadle's. The mark stays with the file through dup() and fork().
 * The mark alone tells that only treadle used the file. A blocking file without it may be in use by
 * others: it stays blocking. */
#ifndef TREADLE_BLOCKING_H
#define TREADLE_BLOCKING_H

#include <string.h>
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

/* What treadle_unblock() found: the socket was non-blocking by the program's will; it may be in use by
 * others who expect it to block; it cannot be marked, as another user owns it. */
enum { TREADLE_WAS_NONBLOCKING = 1, TREADLE_WAS_SHARED = 2, TREADLE_REFUSED = 4 };

/* Make a socket non-blocking; mark it if it shall block for others. Returns what it found, or -1 with
 * errno.
 *
 * A blocking socket without the mark stays as it is if it shall block for others and is not `fresh`.
 * So does one that cannot be marked. */
static inline int treadle_unblock(int fd, int blocks_for_others, int fresh)
{
    int flags = fcntl(fd, F_GETFL), ours = O_NONBLOCK | TREADLE_MARK, wanted, found = 0;
    if (flags < 0)
        return -1;
    wanted = (flags & ~TREADLE_MARK) | O_NONBLOCK | (blocks_for_others ? TREADLE_MARK : 0);
    if (TREADLE_MARK && (flags & ours) == O_NONBLOCK)
        found = TREADLE_WAS_NONBLOCKING;
    if (TREADLE_MARK && (flags & ours) == 0) {
        found = TREADLE_WAS_SHARED;
        if (blocks_for_others && !fresh)
            return found;
    }
    if (wanted != flags && fcntl(fd, F_SETFL, wanted) != 0)
        found |= TREADLE_REFUSED;
    return found;
}

/* Whether calls on a file with these flags shall wait: it is blocking, or O_NONBLOCK is treadle's. */
static inline int treadle_waits(int flags)
{
    return !(flags & O_NONBLOCK) || flags & TREADLE_MARK;
}

/* Make a marked socket blocking again. If it is `let_go`, the mark stays: nobody else has it yet.
 * Returns whether it was marked. */
static inline int treadle_hand_over(int fd, int let_go)
{
    int flags = fcntl(fd, F_GETFL);
    if (!TREADLE_MARK || flags < 0 || !(flags & TREADLE_MARK))
        return 0;
    fcntl(fd, F_SETFL, flags & ~(O_NONBLOCK | (let_go ? 0 : TREADLE_MARK)));
    return 1;
}

/* Whether children inherit a descriptor. */
static inline int treadle_is_inheritable(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    return TREADLE_MARK && flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Make a socket blocking, for others who share it. */
static inline void treadle_block(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags & ~(O_NONBLOCK | TREADLE_MARK));
}

/* Keep other processes that run treadle from making the socket blocking in the middle of a call. */
static inline void treadle_lock(int fd, int type)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_len = 1;
    fcntl(fd, F_SETLKW, &lock);
}

/* Make a blocking socket non-blocking for one call, after which treadle_end_call() must follow. Returns
 * 1, or 0 if it is non-blocking anyway, or -1 with errno. Meanwhile it is marked: a process that looks
 * at it must not take it for one that the program made non-blocking. */
static inline int treadle_begin_call(int fd, int shared)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -1;
    if (flags & O_NONBLOCK && !shared)
        return 0;
    treadle_lock(fd, F_WRLCK);
    flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK)) {
        if (fcntl(fd, F_SETFL, flags | O_NONBLOCK | TREADLE_MARK) != 0)
            fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        return 1;
    }
    treadle_lock(fd, F_UNLCK);
    return flags < 0 ? -1 : 0;
}

static inline void treadle_end_call(int fd)
{
    treadle_block(fd);
    treadle_lock(fd, F_UNLCK);
}

#endif
