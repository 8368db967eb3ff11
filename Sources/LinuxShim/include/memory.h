// Calls on another process's memory. They are here since `syscall` and `ioctl` are variadic, which Swift's importer leaves out, and since
// the structures and constants are newer than the headers of Debian 12.
//
// Every function returns a value >= 0, or the negated errno.
#pragma once
#include <spawn.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

// pidfd_open(2) and pidfd_getfd(2): no wrappers that the importer sees.
int understudy_memory_pidfd_open(pid_t pid);
int understudy_memory_pidfd_getfd(int pidfd, int descriptor);

// The features of a userfaultfd that tracks writes without ever making a writer wait (include/uapi/linux/userfaultfd.h).
uint64_t understudy_userfaultfd_features(void);
// userfaultfd(2) for this process's own memory: `syscall` is variadic.
int understudy_userfaultfd_open(void);
int understudy_userfaultfd_enable(int userfaultfd);
int understudy_userfaultfd_register(int userfaultfd, uint64_t start, uint64_t length);
int understudy_userfaultfd_unregister(int userfaultfd, uint64_t start, uint64_t length);

// struct page_region of include/uapi/linux/fs.h.
struct understudy_page_region {
    uint64_t start, end, categories;
};

enum understudy_pagemap_scan {
    UNDERSTUDY_SCAN_WRITTEN_AND_REARM,  // written since the last re-arming; re-arms what it reports
    UNDERSTUDY_SCAN_REARM_ONLY,         // re-arms and reports nothing
};

// PAGEMAP_SCAN over [start, end): returns the number of regions and where the walk ended.
long understudy_pagemap_scan(int pagemap, enum understudy_pagemap_scan kind, uint64_t start, uint64_t end,
                             struct understudy_page_region *regions, uint64_t capacity, uint64_t *walk_end);

// The rest is hidden from the importer behind _GNU_SOURCE: pipe2(2) with O_CLOEXEC, ...
int understudy_memory_pipe(int ends[2]);
// ... "the child inherits nothing from `first` on" for posix_spawn(3), ...
int understudy_memory_close_from(posix_spawn_file_actions_t *actions, int first);
// ... and process_vm_readv(2) into one piece.
long understudy_process_vm_readv(pid_t pid, void *destination, uint64_t length, const struct iovec *pieces, uint64_t count);
