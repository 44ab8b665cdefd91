/* A library for LD_PRELOAD that makes system functions fail as a script says.
 *
 * A script is a comma-separated list of rules "function:calls:error". The calls are a number, the
 * first call being 1, a range "2-5", or "*" for all. The error is the name of an errno; "short"
 * makes the call transfer one byte. The first rule that fits decides. Calls are counted from
 * failing_arm() on. read() and write() count only for sockets, pipes and the kernel's anonymous
 * files, and never for the standard streams.
 *
 * Nothing here takes a lock: a signal handler may call write(), and a child of fork() has lost the
 * threads that could hold one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define FUNCTIONS(X) \
    X(accept) X(accept4) X(epoll_create1) X(epoll_ctl) X(epoll_pwait2) X(epoll_wait) X(eventfd) \
    X(fork) X(mmap) X(pidfd_open) X(pipe2) X(pthread_create) X(read) X(recv) X(recvfrom) \
    X(recvmsg) X(send) X(sendmsg) X(sendto) X(signalfd) X(socketpair) X(write)
#define ERRORS(X) \
    X(EAGAIN) X(EBADF) X(ECONNABORTED) X(ECONNRESET) X(EINTR) X(EINVAL) X(EMFILE) X(ENFILE) \
    X(ENOBUFS) X(ENODEV) X(ENOMEM) X(ENOSPC) X(ENOSYS) X(EPERM) X(EPIPE)

enum function {
#define X(name) F_##name,
    FUNCTIONS(X)
#undef X
    FUNCTION_COUNT
};

static const char *const function_names[] = {
#define X(name) #name,
    FUNCTIONS(X)
#undef X
};

static const struct { const char *name; int number; } errors[] = {
#define X(name) {#name, name},
    ERRORS(X)
#undef X
};

enum { SHORT = -1, MOST_RULES = 32 };

struct rule { int function, error; long first, last; };

struct script {
    int armed, count;
    struct rule rules[MOST_RULES];
    long calls[FUNCTION_COUNT], failures[FUNCTION_COUNT];
};

static struct script *current;  /* earlier scripts are not freed: another thread may read them */

static int function_named(const char *name)
{
    for (int i = 0; i < FUNCTION_COUNT; i++)
        if (strcmp(function_names[i], name) == 0)
            return i;
    return -1;
}

static int can_be_short(int function)
{
    return function == F_read || function == F_recv || function == F_recvfrom
        || function == F_send || function == F_sendto || function == F_write;
}

static int parse_rule(char *text, struct rule *rule)
{
    char *rest = text, *end;
    char *name = strsep(&rest, ":"), *calls = strsep(&rest, ":");
    if (calls == NULL || rest == NULL || (rule->function = function_named(name)) < 0)
        return -1;
    if (strcmp(calls, "*") == 0) {
        rule->first = 1;
        rule->last = -1;
    } else {
        rule->first = rule->last = strtol(calls, &end, 10);
        if (*end == '-')
            rule->last = strtol(end + 1, &end, 10);
        if (*end != '\0' || rule->first < 1 || rule->last < rule->first)
            return -1;
    }
    if (strcmp(rest, "short") == 0) {
        rule->error = SHORT;
        return can_be_short(rule->function) ? 0 : -1;
    }
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(errors[i].name, rest) == 0) {
            rule->error = errors[i].number;
            return 0;
        }
    return -1;
}

/* Begin to count calls and to obey `text`; NULL: the environment variable FAIL. Return -1 and
 * change nothing if it is no script. */
int failing_arm(const char *text)
{
    if (text == NULL)
        text = getenv("FAIL");
    char *copy = strdup(text == NULL ? "" : text), *rest = copy, *part;
    struct script *script = calloc(1, sizeof *script);
    int bad = copy == NULL || script == NULL;
    while (!bad && (part = strsep(&rest, ",")) != NULL)
        if (*part != '\0')
            bad = script->count == MOST_RULES || parse_rule(part, &script->rules[script->count++]);
    free(copy);
    if (bad) {
        free(script);
        return -1;
    }
    script->armed = 1;
    __atomic_store_n(&current, script, __ATOMIC_RELEASE);
    return 0;
}

/* Let all calls through from here on. The counts remain until the next failing_arm(). */
void failing_disarm(void)
{
    struct script *script = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    if (script != NULL)
        __atomic_store_n(&script->armed, 0, __ATOMIC_RELEASE);
}

/* Return how many calls of the function were counted; -1: there is no such function. */
long failing_calls(const char *name)
{
    int function = function_named(name);
    struct script *script = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    return function < 0 ? -1 : script ? __atomic_load_n(&script->calls[function], 0) : 0;
}

/* Return how many calls of the function failed or were short by the script. */
long failing_failures(const char *name)
{
    int function = function_named(name);
    struct script *script = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    return function < 0 ? -1 : script ? __atomic_load_n(&script->failures[function], 0) : 0;
}

/* Count a call. Return the errno with which it has to fail, SHORT, or 0. */
static int fate(enum function function)
{
    struct script *script = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    if (script == NULL || !__atomic_load_n(&script->armed, __ATOMIC_ACQUIRE))
        return 0;
    long call = __atomic_add_fetch(&script->calls[function], 1, __ATOMIC_RELAXED);
    for (int i = 0; i < script->count; i++) {
        struct rule *rule = &script->rules[i];
        if (rule->function == (int)function && call >= rule->first
            && (rule->last < 0 || call <= rule->last)) {
            __atomic_add_fetch(&script->failures[function], 1, __ATOMIC_RELAXED);
            return rule->error;
        }
    }
    return 0;
}

/* Whether read() and write() on `fd` count. */
static int counts(int fd)
{
    struct stat status;
    int saved = errno, kind;
    if (fd <= 2 || fstat(fd, &status) < 0) {
        errno = saved;
        return 0;
    }
    kind = status.st_mode & S_IFMT;
    return kind == S_IFSOCK || kind == S_IFIFO || kind == 0;
}

#define REAL(name) \
    ({ static __typeof__(name) *real; if (real == NULL) real = dlsym(RTLD_NEXT, #name); real; })
#define FAIL_IF_TOLD(function, value) \
    int error = fate(F_##function); \
    if (error > 0) { errno = error; return value; }

int accept(int fd, struct sockaddr *address, socklen_t *size)
{
    FAIL_IF_TOLD(accept, -1)
    return REAL(accept)(fd, address, size);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    FAIL_IF_TOLD(accept4, -1)
    return REAL(accept4)(fd, address, size, flags);
}

int epoll_create1(int flags)
{
    FAIL_IF_TOLD(epoll_create1, -1)
    return REAL(epoll_create1)(flags);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    FAIL_IF_TOLD(epoll_ctl, -1)
    return REAL(epoll_ctl)(epfd, op, fd, event);
}

int epoll_wait(int epfd, struct epoll_event *events, int size, int timeout)
{
    FAIL_IF_TOLD(epoll_wait, -1)
    return REAL(epoll_wait)(epfd, events, size, timeout);
}

int eventfd(unsigned int value, int flags)
{
    FAIL_IF_TOLD(eventfd, -1)
    return REAL(eventfd)(value, flags);
}

pid_t fork(void)
{
    FAIL_IF_TOLD(fork, -1)
    return REAL(fork)();
}

/* The function that calls vfork() must not return in the child, so no wrapper can call it. POSIX
 * allows fork() instead. */
pid_t vfork(void)
{
    FAIL_IF_TOLD(fork, -1)
    return REAL(fork)();
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset)
{
    FAIL_IF_TOLD(mmap, MAP_FAILED)
    return REAL(mmap64)(address, size, protection, flags, fd, offset);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    return mmap64(address, size, protection, flags, fd, offset);
}

int pipe2(int fds[2], int flags)
{
    FAIL_IF_TOLD(pipe2, -1)
    return REAL(pipe2)(fds, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    int error = fate(F_pthread_create);
    if (error > 0)
        return error;
    return REAL(pthread_create)(thread, attributes, start, argument);
}

ssize_t read(int fd, void *buffer, size_t size)
{
    if (counts(fd)) {
        FAIL_IF_TOLD(read, -1)
        if (error == SHORT && size > 1)
            size = 1;
    }
    return REAL(read)(fd, buffer, size);
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    if (counts(fd)) {
        FAIL_IF_TOLD(write, -1)
        if (error == SHORT && size > 1)
            size = 1;
    }
    return REAL(write)(fd, buffer, size);
}

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    FAIL_IF_TOLD(recv, -1)
    return REAL(recv)(fd, buffer, error == SHORT && size > 1 ? 1 : size, flags);
}

ssize_t recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                 socklen_t *address_size)
{
    FAIL_IF_TOLD(recvfrom, -1)
    return REAL(recvfrom)(fd, buffer, error == SHORT && size > 1 ? 1 : size, flags, address,
                          address_size);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    FAIL_IF_TOLD(recvmsg, -1)
    return REAL(recvmsg)(fd, message, flags);
}

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    FAIL_IF_TOLD(send, -1)
    return REAL(send)(fd, buffer, error == SHORT && size > 1 ? 1 : size, flags);
}

ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *address,
               socklen_t address_size)
{
    FAIL_IF_TOLD(sendto, -1)
    return REAL(sendto)(fd, buffer, error == SHORT && size > 1 ? 1 : size, flags, address,
                        address_size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    FAIL_IF_TOLD(sendmsg, -1)
    return REAL(sendmsg)(fd, message, flags);
}

int signalfd(int fd, const void *mask, int flags)
{
    FAIL_IF_TOLD(signalfd, -1)
    return REAL(signalfd)(fd, mask, flags);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
    FAIL_IF_TOLD(socketpair, -1)
    return REAL(socketpair)(domain, type, protocol, fds);
}

/* For the calls that have no function of their own in every C library. */
long syscall(long number, ...)
{
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_pidfd_open) {
        FAIL_IF_TOLD(pidfd_open, -1)
    } else if (number == SYS_epoll_pwait2) {
        FAIL_IF_TOLD(epoll_pwait2, -1)
    }
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
