// understudy-guard PID PATH MILLISECONDS
//
// Cuts the connections of a server that stands still. Standard input is a socket on which process PID, which serves NBD at the Unix socket PATH,
// gives a sign of life; when none has come for MILLISECONDS, everybody who is connected or waits there is cut off, again and again until the
// next sign. The end of the input is the end of this program: the kernel cuts the connections of a server that died.
//
// A QEMU whose mirror writes to that server then goes on without it, and the guest's writes with it. For that it does not suffice to shut a
// connection down (seen with QEMU 7.2 and 10.0):
//
// - A QEMU that waits to send looks for room only, not for the end of the connection, and a Unix socket has no room as long as its reader has
//   not read. So what waits there is read, after the socket was shut down.
// - A QEMU that has just connected waits for the server's greeting with its whole main loop, and the server has not accepted it yet. So that is
//   done here.
//
// Exit status: 0 the input ended, 1 failed, 64 usage.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

// Between two cuts while the server stands still.
enum { AGAIN_MILLISECONDS = 100 };

static void drain(int socket) {
    static char bytes[1 << 20];
    ssize_t count;
    do count = recv(socket, bytes, sizeof bytes, MSG_DONTWAIT);
    while (count > 0 || (count < 0 && errno == EINTR));
}

static void turn_away(int listener) {
    struct pollfd waiting = {listener, POLLIN, 0};
    while (poll(&waiting, 1, 0) > 0) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) return;
        close(client);
    }
}

static int serves(int socket, const char *path) {
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    if (getsockname(socket, (struct sockaddr *)&address, &length) != 0 || address.sun_family != AF_UNIX) return 0;
    return strncmp(address.sun_path, path, sizeof address.sun_path) == 0;
}

static void cut_off(int socket) {
    int listens = 0;
    socklen_t length = sizeof listens;
    if (getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens) {
        turn_away(socket);
    } else {
        shutdown(socket, SHUT_RDWR);
        drain(socket);
    }
}

static void cut_all(int process, const char *pid, const char *path) {
    char folder[64];
    snprintf(folder, sizeof folder, "/proc/%s/fd", pid);
    DIR *descriptors = opendir(folder);
    if (!descriptors) return;
    struct dirent *entry;
    while ((entry = readdir(descriptors))) {
        char target[16];
        ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, target, sizeof target);
        if (length < 8 || memcmp(target, "socket:[", 8) != 0) continue;
        int socket = (int)syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
        if (socket < 0) continue;
        if (serves(socket, path)) cut_off(socket);
        close(socket);
    }
    closedir(descriptors);
}

int main(int count, char **arguments) {
    int patience = count == 4 ? atoi(arguments[3]) : 0;
    if (patience <= 0) {
        fprintf(stderr, "usage: understudy-guard PID PATH MILLISECONDS\n");
        return 64;
    }
    int process = (int)syscall(SYS_pidfd_open, atoi(arguments[1]), 0);
    if (process < 0) {
        perror("understudy-guard: pidfd_open");
        return 1;
    }
    int limit = patience;
    for (;;) {
        struct pollfd sign = {STDIN_FILENO, POLLIN, 0};
        int ready = poll(&sign, 1, limit);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return 1;
        if (ready == 0) {
            cut_all(process, arguments[1], arguments[2]);
            limit = AGAIN_MILLISECONDS;
            continue;
        }
        limit = patience;
        char bytes[64];
        ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
        if (length == 0 || (length < 0 && errno != EINTR)) return 0;
    }
}
