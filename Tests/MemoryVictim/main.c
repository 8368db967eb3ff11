// A process whose memory the tests track: memory-victim KIND PAGES [PATH]
//
// KIND is anonymous, huge (anonymous with transparent huge pages), memfd, memfd-private, file, file-private or hugetlb. It prints "ready ADDRESS BYTES",
// then waits in ppoll like an event loop, obeys one command per line and answers each with a line.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096 };

static unsigned char *memory;
static size_t pages;
static atomic_int writing;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void *write_on(void *unused) {
    (void)unused;
    uint64_t state = 88172645463325252u;
    while (atomic_load(&writing)) {
        uint64_t value = next_random(&state);
        memcpy(memory + value % (pages * page - 8), &value, 8);
        if (value % 64 == 0) usleep(100);
    }
    return NULL;
}

static int fill_file(int descriptor) {
    uint64_t state = 4101842887655102017u;
    unsigned char buffer[page];
    for (size_t i = 0; i < pages; i++) {
        for (size_t j = 0; j < page; j += 8) {
            uint64_t value = next_random(&state);
            memcpy(buffer + j, &value, 8);
        }
        if (write(descriptor, buffer, page) != page) fail("write");
    }
    return descriptor;
}

static void map(const char *kind, const char *path) {
    int descriptor = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    if (!strncmp(kind, "memfd", 5)) descriptor = fill_file(memfd_create("victim", 0));
    if (!strncmp(kind, "file", 4)) descriptor = fill_file(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    if (!strcmp(kind, "hugetlb")) {
        descriptor = memfd_create("victim", MFD_HUGETLB);
        if (ftruncate(descriptor, pages * page)) fail("ftruncate");
    }
    if (descriptor >= 0) flags = strstr(kind, "private") ? MAP_PRIVATE : MAP_SHARED;
    size_t length = pages * page, huge = 2 << 20;
    // Reserved with a guard on both sides and aligned, as QEMU does.
    unsigned char *area = mmap(NULL, length + 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = (unsigned char *)(((uintptr_t)area + 2 * huge - 1) & ~(huge - 1));
    if (mmap(memory, length, PROT_READ | PROT_WRITE, flags | MAP_FIXED, descriptor, 0) == MAP_FAILED) fail("mmap");
    madvise(memory, length, strcmp(kind, "huge") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
}

static void take_with_foreign_userfaultfd(void) {
    int descriptor = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    if (ioctl(descriptor, UFFDIO_API, &api)) fail("UFFDIO_API");
    struct uffdio_register request = {.range = {(uintptr_t)memory, pages * page}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(descriptor, UFFDIO_REGISTER, &request)) fail("UFFDIO_REGISTER");
}

static void obey(char *line) {
    static pthread_t writer;
    char verb[32] = "";
    unsigned long first = 0, count = 0;
    sscanf(line, "%31s %lu %lu", verb, &first, &count);
    unsigned char *start = memory + first * page;
    size_t length = count * page;
    if (!strcmp(verb, "touch")) {
        for (size_t i = 0; i < count; i++) start[i * page + 123] += 1;
    } else if (!strcmp(verb, "every")) {  // every COUNTth page from FIRST on
        for (size_t i = first; i < pages; i += count) memory[i * page + 7] += 1;
    } else if (!strcmp(verb, "kernel")) {
        int descriptor = open("/dev/urandom", O_RDONLY);
        if (read(descriptor, start, length) != (ssize_t)length) fail("read");
        close(descriptor);
    } else if (!strcmp(verb, "drop")) {
        if (madvise(start, length, MADV_DONTNEED)) fail("madvise");
    } else if (!strcmp(verb, "forbid")) {
        if (mprotect(start, length, PROT_NONE)) fail("mprotect");
    } else if (!strcmp(verb, "remap")) {
        if (mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) fail("mmap");
    } else if (!strcmp(verb, "write-on")) {
        atomic_store(&writing, 1);
        pthread_create(&writer, NULL, write_on, NULL);
    } else if (!strcmp(verb, "write-off")) {
        atomic_store(&writing, 0);
        pthread_join(writer, NULL);
    } else if (!strcmp(verb, "foreign")) {
        take_with_foreign_userfaultfd();
    } else if (!strcmp(verb, "sleep")) {  // not in ppoll; says whether the sleep was cut short
        struct timespec time = {first, 0};
        if (nanosleep(&time, NULL)) fail("nanosleep");
    } else {
        exit(64);
    }
    printf("ok\n");
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count < 3) return 64;
    pages = strtoul(arguments[2], NULL, 10);
    map(arguments[1], count > 3 ? arguments[3] : NULL);
    fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    printf("ready %lu %lu\n", (unsigned long)memory, (unsigned long)(pages * page));
    fflush(stdout);
    char line[256];
    size_t filled = 0;
    for (;;) {
        struct pollfd request = {.fd = 0, .events = POLLIN};
        // Whatever ppoll returns, look: this is what makes an event loop safe to borrow a system call from.
        ppoll(&request, 1, NULL, NULL);
        ssize_t n = read(0, line + filled, 1);
        if (n == 0) return 0;
        if (n < 0) continue;
        if (line[filled] != '\n') {
            if (++filled == sizeof line - 1) return 64;
            continue;
        }
        line[filled] = 0;
        filled = 0;
        obey(line);
    }
}
