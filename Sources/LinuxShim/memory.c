#define _GNU_SOURCE
#include "memory.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

// include/uapi/linux/fs.h of Linux 6.7, under names of our own so that newer headers do not collide.
enum {
    page_is_written = 1 << 1,
    scan_wp_matching = 1 << 0,
    scan_check_wpasync = 1 << 1,
};
struct scan_argument {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_REQUEST _IOWR('f', 16, struct scan_argument)

static long result(long value) { return value < 0 ? -errno : value; }

int understudy_memory_pidfd_open(pid_t pid) { return (int)result(syscall(SYS_pidfd_open, pid, 0)); }

int understudy_memory_pidfd_getfd(int pidfd, int descriptor) { return (int)result(syscall(SYS_pidfd_getfd, pidfd, descriptor, 0)); }

uint64_t understudy_userfaultfd_features(void) {
    return UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC;
}

int understudy_userfaultfd_open(void) {
    long descriptor = result(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
    // 1: UFFD_USER_MODE_ONLY, the one form that an unprivileged process may have.
    return (int)(descriptor == -EPERM ? result(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1)) : descriptor);
}

int understudy_userfaultfd_enable(int userfaultfd) {
    struct uffdio_api api = {.api = UFFD_API, .features = understudy_userfaultfd_features()};
    return (int)result(ioctl(userfaultfd, UFFDIO_API, &api));
}

int understudy_userfaultfd_register(int userfaultfd, uint64_t start, uint64_t length) {
    struct uffdio_register request = {.range = {start, length}, .mode = UFFDIO_REGISTER_MODE_WP};
    return (int)result(ioctl(userfaultfd, UFFDIO_REGISTER, &request));
}

int understudy_userfaultfd_unregister(int userfaultfd, uint64_t start, uint64_t length) {
    struct uffdio_range range = {start, length};
    return (int)result(ioctl(userfaultfd, UFFDIO_UNREGISTER, &range));
}

long understudy_pagemap_scan(int pagemap, enum understudy_pagemap_scan kind, uint64_t start, uint64_t end,
                             struct understudy_page_region *regions, uint64_t capacity, uint64_t *walk_end) {
    struct scan_argument scan = {.size = sizeof scan, .start = start, .end = end, .vec = (uintptr_t)regions, .vec_len = capacity};
    scan.flags = scan_wp_matching | scan_check_wpasync;
    scan.category_mask = scan.return_mask = page_is_written;
    if (kind == UNDERSTUDY_SCAN_REARM_ONLY) scan.vec = scan.vec_len = 0;
    long count = result(ioctl(pagemap, SCAN_REQUEST, &scan));
    *walk_end = scan.walk_end;
    return count;
}

int understudy_memory_pipe(int ends[2]) { return (int)result(pipe2(ends, O_CLOEXEC)); }

int understudy_memory_close_from(posix_spawn_file_actions_t *actions, int first) {
    return -posix_spawn_file_actions_addclosefrom_np(actions, first);
}

long understudy_process_vm_readv(pid_t pid, void *destination, uint64_t length, const struct iovec *pieces, uint64_t count) {
    struct iovec local = {destination, length};
    return result(process_vm_readv(pid, &local, 1, pieces, count, 0));
}
