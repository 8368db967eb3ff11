// SPDX-License-Identifier: Apache-2.0
// Calls that glibc declares for _GNU_SOURCE only, which Swift's Glibc module does not define.
#ifndef UNDERSTUDY_LINKS_H
#define UNDERSTUDY_LINKS_H

#include <stdint.h>

/// accept4(2) without an address: a non-blocking descriptor that no child process inherits, or -1 and errno. With plain
/// accept(2) a QEMU started at the same moment would inherit it and keep the connection open.
int understudy_accept(int listening);

/// Names the calling thread for ps and debuggers; at most 15 bytes.
void understudy_name_thread(const char *name);

/// Bytes per second that the kernel last saw a TCP connection deliver (TCP_INFO, tcpi_delivery_rate); 0 when it does not know. glibc's own
/// tcp_info lacks the field.
uint64_t understudy_delivery_rate(int socket);

#endif
