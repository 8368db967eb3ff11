// The chain: every request that was ever served, in order.

#include "chain.h"

#include <sys/mman.h>
#include <sys/random.h>

#include "journal.h"
#include "sha256.h"

enum { RING = 1 << 20 };

static uint8_t (*ring)[RECORD];  // record of counter c at index (c - 1) % RING
static uint64_t oldest = 1, last = 0;
static uint8_t base[32], head[32];

static void advance(uint8_t digest[32], const uint8_t record[RECORD]) {
    uint8_t link[72];
    memcpy(link, digest, 32);
    memcpy(link + 32, record, RECORD);
    digest72(digest, link);
}

void serve(const uint8_t request[REQUEST], uint8_t reply[REPLY]) {
    last++;
    uint8_t *record = ring[(last - 1) % RING];
    if (last - oldest == RING) {
        advance(base, record);
        oldest++;
    }
    put64(record, last);
    memcpy(record + 8, request, REQUEST);
    if (getrandom(record + 24, 16, 0) != 16) fail("getrandom");
    advance(head, record);
    journal_append(record);
    memcpy(reply, request, REQUEST);
    put64(reply + 16, last);
    memcpy(reply + 24, record + 24, 16);
    memcpy(reply + 40, head, 32);
}

size_t chain_page(const uint8_t query[QUERY], uint8_t *out) {
    uint64_t first = get64(query), count = get64(query + 8);
    if (first < oldest) first = oldest;
    uint64_t available = first > last ? 0 : last - first + 1;
    if (count > PAGE_RECORDS) count = PAGE_RECORDS;
    if (count > available) count = available;
    put64(out, oldest);
    put64(out + 8, last);
    put64(out + 16, count);
    memcpy(out + 24, base, 32);
    memcpy(out + 56, head, 32);
    for (uint64_t i = 0; i < count; i++) memcpy(out + PAGE_HEADER + i * RECORD, ring[(first + i - 1) % RING], RECORD);
    return PAGE_HEADER + count * RECORD;
}

uint64_t chain_length(void) { return last; }

void open_chain(void) {
    ring = mmap(NULL, (size_t)RING * RECORD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ring == MAP_FAILED) fail("mmap of the chain");
}
