// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "links.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>

int understudy_accept(int listening) {
    return accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void understudy_name_thread(const char *name) {
    (void)pthread_setname_np(pthread_self(), name);
}
