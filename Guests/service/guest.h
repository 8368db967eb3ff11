// What the guest's parts share.
#pragma once

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// A request, its reply, and what is kept of it: see init.c.
enum { REQUEST = 16, REPLY = 72, RECORD = 40 };

static inline void put64(uint8_t *to, uint64_t value) {
    value = htobe64(value);
    memcpy(to, &value, 8);
}

static inline uint64_t get64(const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, 8);
    return be64toh(value);
}

// Says what failed on the serial console and powers the machine off.
_Noreturn void fail(const char *what);

// The value of a kernel command line parameter, NULL without it. It points into the buffer.
char *kernel_parameter(const char *name, char *buffer, size_t size);

// Opens a device that may still be probed for; fails after 30 s. `serial:NUMBER` is the disk with that serial number: the kernel names
// SCSI and SATA disks in the order in which they happen to answer. `path` gets the device's path.
int open_device(const char *device, int flags, char *path, size_t size);

void load_modules(void);
void configure_network(void);

// Writes at least so many distinct pages in every 25 ms, at scattered addresses.
_Noreturn void dirty_for_ever(size_t pages);
