// SPDX-License-Identifier: Apache-2.0
// What the daemon's threads need and Swift's Glibc module leaves out, since it lies behind _GNU_SOURCE or in headers without a module.
#pragma once

struct pollfd;
#include <stdint.h>

/// A descriptor that becomes readable when it is signalled (eventfd(2), non-blocking, close-on-exec); -1 and errno on failure.
int understudy_event_descriptor(void);
/// Makes it readable.
void understudy_event_signal(int descriptor);
/// Makes it unreadable again.
void understudy_event_clear(int descriptor);

/// ppoll(2) with a time-out in nanoseconds; negative waits for ever.
int understudy_poll(struct pollfd *descriptors, unsigned long count, int64_t nanoseconds);

/// True (1) when the peer of a stream socket has closed its end or its writing half (POLLRDHUP).
int understudy_peer_has_closed(int socket);


/// Makes a range of a file read as zeroes and gives its space back (fallocate(2)); 0, or -1 and errno.
int understudy_punch_hole(int descriptor, uint64_t offset, uint64_t length);

/// Begins to write a file's changed pages to its disk, once those are there whose writing began before (sync_file_range(2), which _GNU_SOURCE
/// hides); 0, or -1 and errno.
int understudy_write_back(int descriptor);

/// The kind of file system that a file lies in, as a number of linux/magic.h; 0 when it is not known. Here because statfs(2) is not imported.
uint32_t understudy_file_system_kind(int descriptor);

/// Makes an empty KVM machine and throws it away; 0, or the negated errno of the step that failed. Here because ioctl is variadic.
int understudy_try_kvm(void);
