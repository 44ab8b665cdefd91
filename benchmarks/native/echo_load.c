/* The load for echo, a closed loop: every connection sends a message, waits for all of it to come
 * back, checks it and sends the next. After WARMUP messages the program reads the CPU clock of the
 * server process. After MESSAGES more it reads the clock again, prints one line of JSON and ends.
 *
 *   echo_load PORT SERVER_PID CONNECTIONS SIZE WARMUP MESSAGES */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, MAX_SIZE = 1 << 16 };

struct connection {
    int fd;
    long received;
    unsigned char letter;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        fail("clock_gettime");
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void send_message(struct connection *c, long size)
{
    char message[MAX_SIZE];
    memset(message, c->letter, size);
    if (send(c->fd, message, size, MSG_NOSIGNAL) != size)
        fail("send");
}

static void open_connection(struct connection *c, int port, int poller, unsigned char letter)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->letter = letter;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("connect");
}

/* Receives what has arrived; returns 1 once the whole message is back, else 0. */
static int receive(struct connection *c, long size)
{
    char chunk[MAX_SIZE];
    ssize_t got = recv(c->fd, chunk, size - c->received, 0);
    if (got <= 0)
        fail("recv");
    for (ssize_t i = 0; i < got; i++)
        if ((unsigned char)chunk[i] != c->letter) {
            fprintf(stderr, "the echo differs from the message\n");
            exit(1);
        }
    c->received += got;
    if (c->received < size)
        return 0;
    c->received = 0;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: echo_load PORT SERVER_PID CONNECTIONS SIZE WARMUP MESSAGES\n");
        return 2;
    }
    int port = atoi(argv[1]);
    long connections = atol(argv[3]), size = atol(argv[4]);
    long warmup = atol(argv[5]), last = warmup + atol(argv[6]);
    if (size < 1 || size > MAX_SIZE || connections < 1 || warmup < 1) {
        fprintf(stderr, "sizes go from 1 to %d; one connection and one warm-up message at least\n",
                MAX_SIZE);
        return 2;
    }
    clockid_t server;
    if (clock_getcpuclockid(atoi(argv[2]), &server) != 0)
        fail("clock_getcpuclockid");
    int poller = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    if (poller < 0 || !all)
        fail("start");
    for (long i = 0; i < connections; i++)
        open_connection(&all[i], port, poller, 'a' + i % 26);
    for (long i = 0; i < connections; i++)
        send_message(&all[i], size);

    double cpu = 0, wall = 0;
    for (long done = 0; done < last;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count && done < last; i++) {
            struct connection *c = events[i].data.ptr;
            if (!receive(c, size))
                continue;
            if (++done == warmup) {
                cpu = now(server);
                wall = now(CLOCK_MONOTONIC);
            }
            send_message(c, size);
        }
    }
    printf("{\"cpu\": %.12f, \"wall\": %.12f}\n", (now(server) - cpu) / (last - warmup),
           (now(CLOCK_MONOTONIC) - wall) / (last - warmup));
    return 0;
}
