// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "links.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>

int understudy_accept(int listening) {
    return accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void understudy_name_thread(const char *name) {
    (void)pthread_setname_np(pthread_self(), name);
}

uint64_t understudy_delivery_rate(int socket) {
    struct tcp_info info = {0};
    socklen_t length = sizeof(info);
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
    // The field is newer than the call: an older kernel answers with less.
    return length >= offsetof(struct tcp_info, tcpi_delivery_rate) + sizeof(info.tcpi_delivery_rate) ? info.tcpi_delivery_rate : 0;
}
