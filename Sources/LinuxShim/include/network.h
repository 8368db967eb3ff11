#ifndef UNDERSTUDY_NETWORK_H
#define UNDERSTUDY_NETWORK_H

#include <stddef.h>
#include <stdint.h>

/*
 * The parts of Linux's network interfaces that Swift's importer cannot reach: variadic system calls (ioctl, syscall), the unions of
 * struct ifreq, and atomic access to memory that is shared with the kernel.
 */

/// Opens a queue of the tap `name` (created when it does not exist) with virtio-net headers of `header_size` bytes, nonblocking and
/// close-on-exec. `offloads` are TUN_F_* bits; when the kernel knows only some, CSUM, TSO4 and TSO6 are taken. Returns a descriptor or
/// -errno. Here because ioctl is variadic and struct ifreq holds unions.
int understudy_tap_open(const char *name, int multiqueue, int header_size, unsigned offloads);

/// Keeps the tap of `descriptor` after its last holder is gone; `owner` may open it (UINT32_MAX: nobody in particular).
/// Returns 0 or -errno. Here because ioctl is variadic.
int understudy_tap_persist(int descriptor, uint32_t owner);

/// How many bytes of virtio-net header precede each frame of the tap queue `descriptor`: 0 when there is none. -EPROTO when frames carry the
/// tun driver's own header. Returns -errno on failure. Here because ioctl is variadic and struct ifreq holds unions.
int understudy_tap_header_size(int descriptor);

/// bpf(2) with `size` bytes at `attribute`. Returns its result or -errno. Here because glibc has no wrapper and syscall is variadic.
int understudy_bpf(int command, void *attribute, unsigned size);

/// Maps `bytes` (whole pages) of fresh memory twice in a row, so that a record may cross the end of the ring. Returns NULL and sets errno
/// on failure. Here because memfd_create and MAP_FAILED are not imported.
void *understudy_ring_map(size_t bytes);

/// Undoes `understudy_ring_map`.
void understudy_ring_unmap(void *ring, size_t bytes);

/// Maps one page of the array map `descriptor` for reading and writing; NULL and errno on failure. Here because MAP_FAILED is not imported.
void *understudy_map_page(int descriptor);

/// Undoes `understudy_map_page`.
void understudy_unmap_page(void *page);

/// A nonblocking, close-on-exec eventfd, or -errno. Here because the Glibc module lacks <sys/eventfd.h>.
int understudy_relay_event(void);

/// Names the calling thread (at most 15 bytes). Here because pthread_setname_np is a GNU extension that the Glibc module lacks.
void understudy_relay_name_thread(const char *name);

/* Atomic access to a page that BPF programs read and write: Swift's atomics own their storage. */

static inline void understudy_store32(uint32_t *place, uint32_t value) {
    __atomic_store_n(place, value, __ATOMIC_SEQ_CST);
}

static inline uint32_t understudy_load32(const uint32_t *place) {
    return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}

static inline uint64_t understudy_load64(const uint64_t *place) {
    return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}

#endif
