// SPDX-License-Identifier: Apache-2.0
// Calls that glibc declares for _GNU_SOURCE only, which Swift's Glibc module does not define.
#ifndef UNDERSTUDY_LINKS_H
#define UNDERSTUDY_LINKS_H

/// accept4(2) without an address: a non-blocking descriptor that no child process inherits, or -1 and errno. With plain
/// accept(2) a QEMU started at the same moment would inherit it and keep the connection open.
int understudy_accept(int listening);

/// Names the calling thread for ps and debuggers; at most 15 bytes.
void understudy_name_thread(const char *name);

#endif
