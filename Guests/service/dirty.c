// The dirtying load.

#include "guest.h"

#include <sys/mman.h>
#include <time.h>

void dirty_for_ever(size_t pages) {
    // Six steps in 25 ms, of which at least four fall into any 25 ms of which the guest ran 20: each writes a quarter.
    const long step = 25000000 / 6;
    size_t per_step = (pages + 3) / 4, region = 4096;
    while (region < pages * 4) region *= 2;
    uint8_t *memory = mmap(NULL, region * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap of the dirtying load");
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (uint64_t position = 0, value = 88172645463325252u;;) {
        for (size_t i = 0; i < per_step; i++, position++) {
            // An odd stride visits every page of a power-of-two region before it comes back.
            uint64_t *page = (uint64_t *)(memory + (position * 1237 % region) * 4096);
            for (int word = 0; word < 8; word++) {
                value ^= value << 13, value ^= value >> 7, value ^= value << 17;
                page[value % 512] = value;
            }
        }
        next.tv_nsec += step;
        if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        // Far behind (a loaded host): start anew instead of catching up in one burst.
        if (now.tv_sec > next.tv_sec || (now.tv_sec == next.tv_sec && now.tv_nsec - next.tv_nsec > 25000000)) next = now;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
