// The demo guest's /init: the only program of the guest.
//
// It loads the network card's modules and those of us.modules=NAME,..., brings up eth0, eth1, ... (kernel command line:
// us.ip=A.B.C.D/LEN,...), and serves on one thread, so that all
// requests have one total order:
//
//   7000 TCP, 7001 UDP   request  = client u64 | number u64
//                        reply    = client u64 | number u64 | counter u64 | random 16 bytes | digest 32 bytes
//   7002 TCP             query    = first counter u64 | maximum of records u64
//                        page     = oldest counter u64 | last counter u64 | count u64 | base 32 bytes | head 32 bytes | records
//                        record   = counter u64 | client u64 | number u64 | random 16 bytes
//   7004 TCP             query    = 1 to end the journal, 0 u64 | 0 u64
//                        state    = records in the journal u64 | whether it was ended u64
//
// Every integer is big-endian. digest_n = SHA-256(digest_{n-1} | counter | client | number | random); digest_0 is zero; `random` comes
// from getrandom(2). `base` is the digest before the oldest record that the ring still holds, `head` the digest after the last one.
//
// A DEVICE is a path, or serial:NUMBER for the disk with that serial number.
// us.journal=DEVICE: the ext4 file system there gets a file `journal`, to which the record of every request is appended, with fdatasync,
// before its reply leaves. Once the journal was ended (7004) the file system is unmounted and no request is served any more.
// us.journal-sync=0: without fdatasync, for tests that must see what then gets lost.
// us.blocks=DEVICE: further processes write random blocks to that disk and check them; see blocks.h, and 7003 there.
// us.load=DEVICE: a further process writes that disk as fast as it goes, on request; see load.h.
// us.run=DEVICE: the program /start of the ext4 file system there runs beside the service, with that file system as its root.
// us.echo=DEVICE: what it says every second also goes to that device (a virtio port, say).
// us.dirty=PAGES: a second process writes at least PAGES distinct pages in every 25 ms, at scattered addresses.
// us.life=SECONDS: the guest powers itself off after so many seconds.

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocks.h"
#include "chain.h"
#include "guest.h"
#include "journal.h"
#include "load.h"
#include "run.h"
#include "service.h"

int main(void) {
    mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755), mkdir("/tmp", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; console >= 0 && fd < 3; fd++) dup2(console, fd);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (mount("proc", "/proc", "proc", 0, NULL) || mount("sys", "/sys", "sysfs", 0, NULL)) fail("mount");
    mount("tmp", "/tmp", "tmpfs", 0, NULL);
    signal(SIGPIPE, SIG_IGN);
    load_modules();
    configure_network();
    open_chain();
    char line[4096];
    char *pages = kernel_parameter("us.dirty", line, sizeof line);
    if (pages && atoi(pages) > 0 && fork() == 0) dirty_for_ever((size_t)atoi(pages));
    char *blocks = kernel_parameter("us.blocks", line, sizeof line);
    if (blocks && fork() == 0) write_blocks_for_ever(blocks);
    char *load = kernel_parameter("us.load", line, sizeof line);
    if (load && fork() == 0) load_for_ever(load);
    char *program = kernel_parameter("us.run", line, sizeof line);
    if (program && fork() == 0) run_from(program);
    char *journal = kernel_parameter("us.journal", line, sizeof line);
    if (journal) open_journal(journal);
    serve_for_ever();
}
