// Programs of a disk of their own.

#define _GNU_SOURCE
#include "run.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

_Noreturn void run_from(const char *device) {
    char path[64];
    close(open_device(device, O_RDWR, path, sizeof path));
    mkdir("/system", 0755);
    if (mount(path, "/system", "ext4", MS_NOATIME, NULL)) fail("mount of the disk with the program");
    mount("dev", "/system/dev", "devtmpfs", 0, NULL);
    mount("proc", "/system/proc", "proc", 0, NULL);
    mount("sys", "/system/sys", "sysfs", 0, NULL);
    if (chroot("/system") || chdir("/")) fail("chroot");
    execl("/start", "/start", (char *)NULL);
    fail("/start");
}
