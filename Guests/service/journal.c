#define _GNU_SOURCE
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int file = -1;
static uint8_t batch[16384 * RECORD];
static size_t used;
static uint64_t records;
static bool unsynced;

void open_journal(const char *device) {
    char path[64], line[4096];
    char *sync = kernel_parameter("us.journal-sync", line, sizeof line);
    unsynced = sync && !strcmp(sync, "0");
    close(open_device(device, O_RDWR, path, sizeof path));
    mkdir("/data", 0755);
    if (mount(path, "/data", "ext4", MS_NOATIME, NULL)) fail("mount of the journal's disk");
    file = open("/data/journal", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    off_t size = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    if (size < 0) fail("/data/journal");
    records = (uint64_t)size / RECORD;
    // A record that a crash cut off had no reply.
    if (size % RECORD && ftruncate(file, (off_t)(records * RECORD))) fail("truncation of /data/journal");
    // The file's name must outlive a crash as its records do.
    if (fsync(file)) fail("fsync of /data/journal");
    int folder = open("/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fsync(folder)) fail("fsync of /data");
    close(folder);
}

void journal_append(const uint8_t record[RECORD]) {
    if (file < 0) return;
    if (used == sizeof batch) journal_commit();
    memcpy(batch + used, record, RECORD);
    used += RECORD;
}

void journal_commit(void) {
    if (used == 0) return;
    for (size_t written = 0; written < used;) {
        ssize_t n = write(file, batch + written, used - written);
        if (n < 0 && errno != EINTR) fail("write to /data/journal");
        if (n > 0) written += (size_t)n;
    }
    if (!unsynced && fdatasync(file)) fail("fdatasync of /data/journal");
    records += used / RECORD;
    used = 0;
}

void seal_journal(void) {
    if (file < 0) return;
    journal_commit();
    close(file);
    file = -1;
    if (umount2("/data", 0)) fail("umount of the journal's disk");
}

uint64_t journal_length(void) { return records; }
