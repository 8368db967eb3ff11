#define _GNU_SOURCE
#include "blocks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCKS_PORT = 7003, WORDS = 512, BLOCK = 4096, SPAN = 16, WRITERS = 2, CHECK = 1, QUERY_LENGTH = 16, STATE_LENGTH = 40 };

static const uint64_t magic = 0x314b434f4c425355;  // "USBLOCK1" as a little-endian word

// One process per writer, each with its own part of the disk: several requests are under way at any moment.
struct writer {
    uint64_t first, count;
    uint64_t sequence;
    _Atomic uint64_t written, bad;
    // The last check of this part, and the number of the order that it followed.
    uint64_t wrong, first_wrong;
    _Atomic uint64_t checked;
};

// In memory that the processes share.
static struct shared {
    _Atomic uint64_t order;
    struct writer writers[WRITERS];
} *shared;

static uint64_t *expected;  // the sequence number of each block; 0 for a block that was never written
static uint64_t *buffer;    // SPAN blocks, aligned for O_DIRECT
static int disk;

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

static uint64_t checksum(const uint64_t *block) {
    uint64_t sum = 0xcbf29ce484222325;
    for (int word = 0; word < WORDS; word++) sum = (sum ^ (word == 3 ? 0 : block[word])) * 0x100000001b3;
    return sum;
}

static void fill(uint64_t *block, uint64_t number, uint64_t sequence) {
    uint64_t state = (number << 32 ^ sequence) | 1;
    block[0] = magic, block[1] = number, block[2] = sequence, block[3] = 0;
    for (int word = 4; word < WORDS; word++) block[word] = next_random(&state);
    block[3] = checksum(block);
}

// The sequence number that a block has, 0 for one of zeros, -1 for one that is neither.
static uint64_t sequence_of(const uint64_t *block, uint64_t number) {
    if (block[0] == 0) {
        for (int word = 1; word < WORDS; word++) {
            if (block[word]) return UINT64_MAX;
        }
        return 0;
    }
    return block[0] == magic && block[1] == number && block[3] == checksum(block) ? block[2] : UINT64_MAX;
}

static void read_blocks(uint64_t first, uint64_t count) {
    if (pread(disk, buffer, count * BLOCK, (off_t)(first * BLOCK)) != (ssize_t)(count * BLOCK)) fail("read of the block writers' disk");
}

static void complain(struct writer *w, uint64_t number, uint64_t found) {
    // A console is slow: the first ones say enough.
    if (w->bad++ >= 16) return;
    printf("UNDERSTUDY-BLOCKS-BAD %llu: sequence %lld instead of %llu\n", (unsigned long long)number, (long long)found,
           (unsigned long long)expected[number]);
}

// Compares blocks with what the guest remembers; returns how many differ.
static uint64_t compare(struct writer *w, uint64_t first, uint64_t count) {
    uint64_t wrong = 0;
    read_blocks(first, count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t found = sequence_of(buffer + i * WORDS, first + i);
        if (found == expected[first + i]) continue;
        if (!wrong++ && w->wrong == 0) w->first_wrong = first + i;
        complain(w, first + i, found);
    }
    return wrong;
}

static void check_part(struct writer *w) {
    w->wrong = 0;
    for (uint64_t at = 0; at < w->count; at += SPAN) {
        w->wrong += compare(w, w->first + at, w->count - at < SPAN ? w->count - at : SPAN);
    }
}

// What a disk already holds is where its writer goes on.
static void learn_part(struct writer *w) {
    for (uint64_t at = 0; at < w->count; at += SPAN) {
        uint64_t count = w->count - at < SPAN ? w->count - at : SPAN;
        read_blocks(w->first + at, count);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t number = w->first + at + i, found = sequence_of(buffer + i * WORDS, number);
            if (found == UINT64_MAX) complain(w, number, found);
            if (found != UINT64_MAX && found > w->sequence) w->sequence = found;
            expected[number] = found;
        }
    }
    // Writer i of n takes the numbers that leave the remainder i.
    w->sequence = w->sequence / WRITERS * WRITERS + WRITERS + (uint64_t)(w - shared->writers);
}

static void write_some(struct writer *w, uint64_t first, uint64_t count, bool flush) {
    w->sequence += WRITERS;
    for (uint64_t i = 0; i < count; i++) fill(buffer + i * WORDS, first + i, w->sequence);
    if (pwrite(disk, buffer, count * BLOCK, (off_t)(first * BLOCK)) != (ssize_t)(count * BLOCK)) fail("write to the block writers' disk");
    for (uint64_t i = 0; i < count; i++) expected[first + i] = w->sequence;
    if (flush && fdatasync(disk)) fail("fdatasync of the block writers' disk");
    w->written += count;
}

static _Noreturn void write_part_for_ever(struct writer *w) {
    uint64_t state = 88172645463325252u + (uint64_t)(w - shared->writers);
    learn_part(w);
    for (;;) {
        uint64_t order = shared->order;
        if (order != w->checked) {
            check_part(w);
            w->checked = order;
        }
        uint64_t random = next_random(&state), count = 1 + random % SPAN;
        uint64_t first = w->first + (random >> 8) % (w->count - count + 1);
        if ((random >> 48) % 4 == 0) {
            compare(w, first, count);
        } else {
            write_some(w, first, count, (random >> 50) % 8 == 0);
        }
        // The machine's one processor also serves.
        usleep(1000 + (useconds_t)((random >> 54) % 4) * 500);
    }
}

static void state(uint8_t out[STATE_LENGTH]) {
    uint64_t written = 0, bad = 0, blocks = 0, wrong = 0, first_wrong = UINT64_MAX;
    for (struct writer *w = shared->writers; w < shared->writers + WRITERS; w++) {
        written += w->written, bad += w->bad;
        if (shared->order == 0) continue;
        blocks += w->count, wrong += w->wrong;
        if (w->wrong && w->first_wrong < first_wrong) first_wrong = w->first_wrong;
    }
    put64(out, written), put64(out + 8, bad), put64(out + 16, blocks), put64(out + 24, wrong), put64(out + 32, first_wrong);
}

static _Noreturn void converse(int fd) {
    uint8_t query[QUERY_LENGTH], answer[STATE_LENGTH];
    while (recv(fd, query, sizeof query, MSG_WAITALL) == QUERY_LENGTH) {
        if (get64(query) == CHECK) {
            uint64_t order = ++shared->order;
            for (struct writer *w = shared->writers; w < shared->writers + WRITERS; w++) {
                while (w->checked < order) usleep(5000);
            }
        }
        state(answer);
        if (send(fd, answer, sizeof answer, MSG_NOSIGNAL) != STATE_LENGTH) break;
    }
    _exit(0);
}

// A process for each connection: one whose client is gone for good must not keep others out.
static _Noreturn void answer_for_ever(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(BLOCKS_PORT)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4)) fail("the block writers' port");
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0 && fork() == 0) converse(fd);
        if (fd >= 0) close(fd);
    }
}

static void *memory(size_t size, int sharing) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) fail("mmap of the block writers");
    return at;
}

void write_blocks_for_ever(const char *device) {
    char path[64];
    uint64_t size = 0;
    disk = open_device(device, O_RDWR | O_DIRECT, path, sizeof path);
    if (ioctl(disk, BLKGETSIZE64, &size)) fail("size of the block writers' disk");
    uint64_t part = size / BLOCK / WRITERS;
    if (part < SPAN) fail("the block writers' disk is too small");
    shared = memory(sizeof *shared, MAP_SHARED);
    expected = memory(part * WRITERS * sizeof *expected, MAP_SHARED);
    for (int i = 0; i < WRITERS; i++) {
        struct writer *w = &shared->writers[i];
        w->first = part * (uint64_t)i, w->count = part, w->first_wrong = UINT64_MAX;
        if (fork() == 0) {
            buffer = memory(SPAN * BLOCK, MAP_PRIVATE);
            write_part_for_ever(w);
        }
    }
    answer_for_ever();
}
