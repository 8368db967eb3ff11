// The machine: its kernel parameters, modules, devices and network cards.

#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void fail(const char *what) {
    printf("UNDERSTUDY-GUEST-FAILED %s: %s\n", what, strerror(errno));
    fflush(stdout);
    // The kernel would panic when process 1 ends: power off instead, so that the demo sees QEMU end with the message in its log.
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

// Whether a disk of /sys/block has the serial number: virtio disks say it in `serial`, SCSI and SATA disks in page 0x80.
static bool has_serial(const char *disk, const char *serial) {
    static const char *const places[] = {"serial", "device/vpd_pg80"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[300], text[256];
        snprintf(path, sizeof path, "/sys/block/%s/%s", disk, places[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
        if (fd >= 0) close(fd);
        if (n > 0 && memmem(text, (size_t)n, serial, strlen(serial))) return true;
    }
    return false;
}

// The device node of serial:NUMBER; a path stands for itself.
static const char *find_device(const char *device, char *buffer, size_t size) {
    if (strncmp(device, "serial:", 7)) return device;
    DIR *disks = opendir("/sys/block");
    const char *found = NULL;
    for (struct dirent *entry; disks && !found && (entry = readdir(disks));) {
        if (entry->d_name[0] == '.' || !has_serial(entry->d_name, device + 7)) continue;
        snprintf(buffer, size, "/dev/%s", entry->d_name);
        found = buffer;
    }
    if (disks) closedir(disks);
    return found;
}

int open_device(const char *device, int flags, char *path, size_t size) {
    for (int i = 0; i < 3000; i++) {
        const char *found = find_device(device, path, size);
        int fd = found ? open(found, flags | O_CLOEXEC) : -1;
        if (fd >= 0) {
            if (found != path) snprintf(path, size, "%s", found);
            return fd;
        }
        usleep(10000);
    }
    fail(device);
}

static void load_module(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/modules/%s.ko", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) fail(path);
    close(fd);
}

// The value of a kernel command line parameter, NULL without it.
static char *parameter(char *line, const char *name) {
    size_t length = strlen(name);
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        if (!strncmp(word, name, length) && word[length] == '=') return word + length + 1;
    }
    return NULL;
}

char *kernel_parameter(const char *name, char *buffer, size_t size) {
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);
    if (n < 0) fail("/proc/cmdline");
    close(fd);
    buffer[n] = 0;
    return parameter(buffer, name);
}

void load_modules(void) {
    // The order of dependence; scripts/make-guest packs the same names.
    static const char *const names[] = {"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
                                        "virtio_pci", "failover", "net_failover", "virtio_net"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) load_module(names[i]);
    char line[4096], *state;
    char *further = kernel_parameter("us.modules", line, sizeof line);
    for (char *name = further ? strtok_r(further, ",", &state) : NULL; name; name = strtok_r(NULL, ",", &state)) load_module(name);
}

static void bring_up(const char *interface, const char *address, unsigned prefix) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {0};
    struct sockaddr_in *to = (struct sockaddr_in *)&request.ifr_addr;
    snprintf(request.ifr_name, IFNAMSIZ, "%s", interface);
    to->sin_family = AF_INET;
    if (inet_pton(AF_INET, address, &to->sin_addr) != 1 || ioctl(fd, SIOCSIFADDR, &request)) fail("address");
    to->sin_addr.s_addr = htonl(prefix ? ~0u << (32 - prefix) : 0);
    if (ioctl(fd, SIOCSIFNETMASK, &request)) fail("netmask");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request)) fail("interface up");
    close(fd);
}

void configure_network(void) {
    char line[4096], *state, interface[IFNAMSIZ];
    char *addresses = kernel_parameter("us.ip", line, sizeof line);
    if (!addresses) fail("no us.ip on the kernel command line");
    bring_up("lo", "127.0.0.1", 8);
    int card = 0;
    for (char *address = strtok_r(addresses, ",", &state); address; address = strtok_r(NULL, ",", &state), card++) {
        char *slash = strchr(address, '/');
        unsigned prefix = slash ? (unsigned)atoi(slash + 1) : 24;
        if (slash) *slash = 0;
        snprintf(interface, sizeof interface, "eth%d", card);
        // The driver may still be probing when finit_module returns.
        for (int i = 0; i < 500 && !if_nametoindex(interface); i++) usleep(10000);
        bring_up(interface, address, prefix);
    }
}
