#define _GNU_SOURCE
#include "load.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOAD_PORT = 7005, WORKERS = 4, LARGEST = 1 << 20, RANDOM = 1, SYNC = 2, QUERY_LENGTH = 24, ANSWER_LENGTH = 16 };

static int disk;
static uint64_t size;
static _Atomic uint64_t *writes;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static _Noreturn void work(uint64_t worker, uint64_t bytes, uint64_t kind, uint64_t end) {
    uint8_t *buffer = mmap(NULL, LARGEST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) fail("mmap of the disk load");
    memset(buffer, (int)worker + 1, bytes);
    uint64_t places = size / WORKERS / bytes, state = now() | 1;
    for (uint64_t i = 0; now() < end; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uint64_t place = (kind & RANDOM ? state : i) % places;
        // No two writes alike.
        memcpy(buffer, &state, sizeof state);
        if (pwrite(disk, buffer, bytes, (off_t)((worker * places + place) * bytes)) != (ssize_t)bytes) fail("write of the disk load");
        if (kind & SYNC && fdatasync(disk)) fail("fdatasync of the disk load");
        ++*writes;
    }
    _exit(0);
}

static void measure(const uint8_t query[QUERY_LENGTH], uint8_t answer[ANSWER_LENGTH]) {
    uint64_t bytes = get64(query), kind = get64(query + 8), begun = now(), end = begun + get64(query + 16) * 1000000;
    if (bytes == 0 || bytes > LARGEST || bytes % 4096 || size / WORKERS < bytes) return;
    *writes = 0;
    for (uint64_t worker = 0; worker < WORKERS; worker++) {
        if (fork() == 0) work(worker, bytes, kind, end);
    }
    while (wait(NULL) > 0) continue;
    put64(answer, *writes), put64(answer + 8, now() - begun);
}

void load_for_ever(const char *device) {
    char path[64];
    disk = open_device(device, O_RDWR | O_DIRECT, path, sizeof path);
    writes = mmap(NULL, sizeof *writes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ioctl(disk, BLKGETSIZE64, &size) || writes == MAP_FAILED) fail("the disk load");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(LOAD_PORT)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4)) fail("the disk load's port");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        uint8_t query[QUERY_LENGTH], answer[ANSWER_LENGTH] = {0};
        if (fd < 0) continue;
        if (recv(fd, query, sizeof query, MSG_WAITALL) == QUERY_LENGTH) {
            measure(query, answer);
            send(fd, answer, sizeof answer, MSG_NOSIGNAL);
        }
        close(fd);
    }
}
