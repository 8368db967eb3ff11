#define _GNU_SOURCE
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail_and_close(int descriptor) {
    int error = errno;
    close(descriptor);
    return -error;
}

int understudy_tap_open(const char *name, int multiqueue, int header_size, unsigned offloads) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    if (strlen(name) >= sizeof request.ifr_name) return -ENAMETOOLONG;
    strcpy(request.ifr_name, name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multiqueue ? IFF_MULTI_QUEUE : 0);
    int descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return -errno;
    if (ioctl(descriptor, TUNSETIFF, &request) < 0) return fail_and_close(descriptor);
    if (ioctl(descriptor, TUNSETVNETHDRSZ, &header_size) < 0) return fail_and_close(descriptor);
    if (ioctl(descriptor, TUNSETOFFLOAD, (unsigned long)offloads) < 0) {
        if (errno != EINVAL) return fail_and_close(descriptor);
        unsigned long basic = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
        if (ioctl(descriptor, TUNSETOFFLOAD, basic) < 0) return fail_and_close(descriptor);
    }
    return descriptor;
}

int understudy_tap_persist(int descriptor, uint32_t owner) {
    if (owner != UINT32_MAX && ioctl(descriptor, TUNSETOWNER, (unsigned long)owner) < 0) return -errno;
    if (ioctl(descriptor, TUNSETPERSIST, 1UL) < 0) return -errno;
    return 0;
}

int understudy_tap_header_size(int descriptor) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    if (ioctl(descriptor, TUNGETIFF, &request) < 0) return -errno;
    if (!(request.ifr_flags & IFF_NO_PI)) return -EPROTO;
    if (!(request.ifr_flags & IFF_VNET_HDR)) return 0;
    int size = 0;
    if (ioctl(descriptor, TUNGETVNETHDRSZ, &size) < 0) return -errno;
    return size;
}

int understudy_bpf(int command, void *attribute, unsigned size) {
    long result = syscall(SYS_bpf, command, attribute, size);
    return result < 0 ? -errno : (int)result;
}

void *understudy_ring_map(size_t bytes) {
    int memory = memfd_create("understudy-output", MFD_CLOEXEC);
    if (memory < 0) return NULL;
    char *ring = MAP_FAILED;
    if (ftruncate(memory, (off_t)bytes) == 0)
        ring = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ring != MAP_FAILED) {
        int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED;
        if (mmap(ring, bytes, protection, flags | MAP_POPULATE, memory, 0) == MAP_FAILED ||
            mmap(ring + bytes, bytes, protection, flags | MAP_POPULATE, memory, 0) == MAP_FAILED) {
            int error = errno;
            munmap(ring, 2 * bytes);
            errno = error;
            ring = MAP_FAILED;
        }
    }
    int error = errno;
    close(memory);
    errno = error;
    return ring == MAP_FAILED ? NULL : ring;
}

void understudy_ring_unmap(void *ring, size_t bytes) {
    munmap(ring, 2 * bytes);
}

void *understudy_map_page(int descriptor) {
    void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return page == MAP_FAILED ? NULL : page;
}

void understudy_unmap_page(void *page) {
    munmap(page, (size_t)sysconf(_SC_PAGESIZE));
}

int understudy_relay_event(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

void understudy_relay_name_thread(const char *name) {
    pthread_setname_np(pthread_self(), name);
}
