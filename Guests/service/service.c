// The service: connections and datagrams, in rounds. A round takes what has arrived, commits the journal once, and then answers.

#define _GNU_SOURCE
#include "service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "chain.h"
#include "journal.h"

enum { TCP_PORT = 7000, UDP_PORT = 7001, CHAIN_PORT = 7002, JOURNAL_PORT = 7004 };
enum { OUTPUT = 1 << 17, INPUT = 4096, CONNECTIONS = 64, DATAGRAMS = 64, SEAL = 1, JOURNAL_STATE = 16 };

// What a connection's messages are. All have the length of a request.
enum kind { REQUESTS, CHAIN, JOURNAL };

struct connection {
    int fd;
    enum kind kind;
    bool active;  // something may move
    bool over;
    size_t input, output;
    uint8_t in[INPUT], out[OUTPUT];
};

struct datagram {
    struct sockaddr_in to;
    uint8_t reply[REPLY];
};

static int poller;
static struct connection *connections[CONNECTIONS];
static struct datagram datagrams[DATAGRAMS];
static int replies;
static bool sealed;  // the journal takes no more records

// What a connection must have free before it may take the next message.
static size_t largest_answer(const struct connection *c) { return c->kind == CHAIN ? PAGE_HEADER + PAGE_RECORDS * RECORD : REPLY; }

static size_t journal_state(const uint8_t *query, uint8_t *out) {
    if (get64(query) == SEAL && !sealed) {
        seal_journal();
        sealed = true;
    }
    put64(out, journal_length());
    put64(out + 8, sealed);
    return JOURNAL_STATE;
}

static size_t answer(struct connection *c, const uint8_t *message, uint8_t *out) {
    if (c->kind == CHAIN) return chain_page(message, out);
    if (c->kind == JOURNAL) return journal_state(message, out);
    serve(message, out);
    return REPLY;
}

static void answer_all(struct connection *c) {
    size_t taken = 0;
    while (c->input - taken >= REQUEST && OUTPUT - c->output >= largest_answer(c)) {
        if (c->kind == REQUESTS && sealed) {
            c->over = true;
            return;
        }
        c->output += answer(c, c->in + taken, c->out + c->output);
        taken += REQUEST;
    }
    memmove(c->in, c->in + taken, c->input - taken);
    c->input -= taken;
}

// Reads and serves; true when something came.
static bool take(struct connection *c) {
    bool came = false;
    if (c->input < INPUT) {
        ssize_t n = recv(c->fd, c->in + c->input, INPUT - c->input, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) c->over = true;
        if (n > 0) {
            c->input += (size_t)n;
            came = true;
        }
    }
    answer_all(c);
    return came;
}

// Writes what is answered; true when something left.
static bool give(struct connection *c) {
    if (c->output == 0) return false;
    ssize_t n = send(c->fd, c->out, c->output, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) c->over = true;
    if (n <= 0) return false;
    memmove(c->out, c->out + n, c->output - (size_t)n);
    c->output -= (size_t)n;
    return true;
}

static void accept_one(int listener, enum kind kind) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    int slot = 0, on = 1;
    while (slot < CONNECTIONS && connections[slot]) slot++;
    struct connection *c = slot < CONNECTIONS ? calloc(1, sizeof *c) : NULL;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (!c || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
        free(c);
        close(fd);
        return;
    }
    c->fd = fd;
    c->kind = kind;
    connections[slot] = c;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void take_datagrams(int fd) {
    while (replies < DATAGRAMS) {
        uint8_t request[REQUEST + 1];
        struct datagram *datagram = &datagrams[replies];
        socklen_t length = sizeof datagram->to;
        ssize_t n = recvfrom(fd, request, sizeof request, MSG_DONTWAIT, (struct sockaddr *)&datagram->to, &length);
        if (n < 0) return;
        if (n != REQUEST || sealed) continue;
        serve(request, datagram->reply);
        replies++;
    }
}

static void give_datagrams(int fd) {
    for (int i = 0; i < replies; i++) {
        // A full socket buffer loses the datagram, as UDP may.
        sendto(fd, datagrams[i].reply, REPLY, MSG_DONTWAIT, (struct sockaddr *)&datagrams[i].to, sizeof datagrams[i].to);
    }
    replies = 0;
}

static int service_socket(int type, int port) {
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (type == SOCK_STREAM && listen(fd, 16)) fail("listen");
    return fd;
}

static void watch(int *fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, *fd, &event)) fail("epoll_ctl");
}

static unsigned long life;  // ticks until the guest powers itself off; 0 for ever
static int echo = -1;       // a device that hears every tick, too

static void read_parameters(void) {
    char line[4096], path[64];
    char *seconds = kernel_parameter("us.life", line, sizeof line);
    if (seconds) life = strtoul(seconds, NULL, 10);
    char *device = kernel_parameter("us.echo", line, sizeof line);
    if (device) echo = open_device(device, O_WRONLY | O_NONBLOCK, path, sizeof path);
}

static void tick(int timer) {
    static unsigned long ticks;
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) > 0) printf("tick %lu counter %llu\n", ++ticks, (unsigned long long)chain_length());
    if (echo >= 0) dprintf(echo, "tick %lu\n", ticks);
    if (life && ticks >= life) reboot(RB_POWER_OFF);
}

enum { LISTENERS = 3 };
static int listeners[LISTENERS], udp, timer;

static void notice(void *what) {
    for (int i = 0; i < LISTENERS; i++) {
        if (what == &listeners[i]) return accept_one(listeners[i], (enum kind)i);
    }
    if (what == &udp) return take_datagrams(udp);
    if (what == &timer) return tick(timer);
    ((struct connection *)what)->active = true;
}

// Takes from and gives to every active connection; true when some may have more to do.
static bool converse(void) {
    bool moved[CONNECTIONS] = {false}, more = false;
    for (int i = 0; i < CONNECTIONS; i++) {
        if (connections[i] && connections[i]->active) moved[i] = take(connections[i]);
    }
    // No reply leaves before the disk has the record of its request.
    journal_commit();
    give_datagrams(udp);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = connections[i];
        if (!c || !c->active) continue;
        if (!c->over && give(c)) moved[i] = true;
        c->active = moved[i];
        more |= moved[i];
        if (!c->over) continue;
        close(c->fd);
        free(c);
        connections[i] = NULL;
    }
    return more;
}

void serve_for_ever(void) {
    struct itimerspec second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
    static const int ports[LISTENERS] = {[REQUESTS] = TCP_PORT, [CHAIN] = CHAIN_PORT, [JOURNAL] = JOURNAL_PORT};
    read_parameters();
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (poller < 0 || timer < 0 || timerfd_settime(timer, 0, &second, NULL)) fail("epoll or timer");
    for (int i = 0; i < LISTENERS; i++) {
        listeners[i] = service_socket(SOCK_STREAM, ports[i]);
        watch(&listeners[i]);
    }
    udp = service_socket(SOCK_DGRAM, UDP_PORT);
    watch(&udp);
    watch(&timer);
    printf("UNDERSTUDY-GUEST-READY\n");
    for (bool more = false;;) {
        struct epoll_event events[CONNECTIONS];
        int count = epoll_wait(poller, events, CONNECTIONS, more ? 0 : -1);
        for (int i = 0; i < count; i++) notice(events[i].data.ptr);
        more = converse();
    }
}
