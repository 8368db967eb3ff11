#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

ssize_t understudy_send_with_descriptor(int socket, const void *bytes, size_t length, int descriptor) {
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? -errno : sent;
}

ssize_t understudy_receive_with_descriptor(int socket, void *bytes, size_t capacity, int *descriptor) {
    struct iovec part = {.iov_base = bytes, .iov_len = capacity};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
    *descriptor = -1;
    ssize_t received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0) return -errno;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
            memcpy(descriptor, CMSG_DATA(header), sizeof(int));
    return received;
}

static int unix_address(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) return -ENAMETOOLONG;
    strcpy(address->sun_path, path);
    return 0;
}

int understudy_connect_unix(const char *path) {
    struct sockaddr_un address;
    int result = unix_address(path, &address);
    if (result < 0) return result;
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -errno;
    // Non-blocking: connecting to a full backlog fails with EAGAIN, where a blocking socket waits for ever.
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0) {
        result = -errno;
        close(descriptor);
        return result;
    }
    return descriptor;
}

int understudy_listen_unix(const char *path, int backlog) {
    struct sockaddr_un address;
    int result = unix_address(path, &address);
    if (result < 0) return result;
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(descriptor, backlog) < 0) {
        result = -errno;
        close(descriptor);
        return result;
    }
    return descriptor;
}

int understudy_peer_credentials(int socket, pid_t *pid, uid_t *uid, gid_t *gid) {
    struct ucred credentials;
    socklen_t length = sizeof(credentials);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    *pid = credentials.pid;
    *uid = credentials.uid;
    *gid = credentials.gid;
    return 0;
}

int understudy_pidfd_open(pid_t pid) {
    long descriptor = syscall(SYS_pidfd_open, pid, 0);
    return descriptor < 0 ? -errno : (int)descriptor;
}

int understudy_pidfd_getfd(int pidfd, int descriptor) {
    long copy = syscall(SYS_pidfd_getfd, pidfd, descriptor, 0);
    return copy < 0 ? -errno : (int)copy;
}

int understudy_pidfd_send_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int understudy_set_pipe_capacity(int pipe, int bytes) {
    int capacity = fcntl(pipe, F_SETPIPE_SZ, bytes);
    return capacity < 0 ? -errno : capacity;
}

int understudy_pipe_capacity(int pipe) {
    int capacity = fcntl(pipe, F_GETPIPE_SZ);
    return capacity < 0 ? -errno : capacity;
}

int understudy_bytes_waiting(int descriptor) {
    int count = 0;
    return ioctl(descriptor, FIONREAD, &count) < 0 ? -errno : count;
}

int understudy_bytes_untaken(int socket) {
    int count = 0;
    return ioctl(socket, TIOCOUTQ, &count) < 0 ? -errno : count;
}

int understudy_make_pipe(int *read_end, int *write_end) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    // Only the read end: QEMU opens the write end anew and must block on it.
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) {
        int result = -errno;
        close(ends[0]);
        close(ends[1]);
        return result;
    }
    *read_end = ends[0];
    *write_end = ends[1];
    return 0;
}

int understudy_enter_network_namespace(int descriptor) {
    return setns(descriptor, CLONE_NEWNET) < 0 ? -errno : 0;
}

// Reports one interface; attributes of a wrong length are passed over.
static void visit_link(struct nlmsghdr *header, void *context, void (*visit)(void *, int, const char *, const char *, int)) {
    struct ifinfomsg *link = NLMSG_DATA(header);
    int left = (int)header->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*link)), master = 0;
    char name[64] = "", kind[64] = "";
    for (struct rtattr *item = IFLA_RTA(link); RTA_OK(item, left); item = RTA_NEXT(item, left)) {
        size_t size = RTA_PAYLOAD(item);
        if (item->rta_type == IFLA_IFNAME && size < sizeof(name)) memcpy(name, RTA_DATA(item), size);
        if (item->rta_type == IFLA_MASTER && size == sizeof(master)) memcpy(&master, RTA_DATA(item), size);
        if ((item->rta_type & NLA_TYPE_MASK) != IFLA_LINKINFO) continue;
        int inner = (int)size;
        for (struct rtattr *part = RTA_DATA(item); RTA_OK(part, inner); part = RTA_NEXT(part, inner))
            if (part->rta_type == IFLA_INFO_KIND && RTA_PAYLOAD(part) < sizeof(kind)) memcpy(kind, RTA_DATA(part), RTA_PAYLOAD(part));
    }
    visit(context, link->ifi_index, name, kind, master);
}

static int read_links(int descriptor, void *context, void (*visit)(void *, int, const char *, const char *, int)) {
    static const size_t capacity = 65536;
    char buffer[65536] __attribute__((aligned(16)));
    for (;;) {
        ssize_t received = recv(descriptor, buffer, capacity, 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return -errno;
        int left = (int)received;
        for (struct nlmsghdr *header = (struct nlmsghdr *)buffer; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
            if (header->nlmsg_type == NLMSG_DONE) return 0;
            if (header->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(header))->error;
            if (header->nlmsg_type == RTM_NEWLINK && header->nlmsg_len >= NLMSG_LENGTH(sizeof(struct ifinfomsg)))
                visit_link(header, context, visit);
        }
    }
}

int understudy_list_interfaces(void *context, void (*visit)(void *context, int index, const char *name, const char *kind, int master)) {
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (descriptor < 0) return -errno;
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
    } request = {
        .header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .link = {.ifi_family = AF_UNSPEC},
    };
    int result = send(descriptor, &request, sizeof(request), 0) < 0 ? -errno : read_links(descriptor, context, visit);
    close(descriptor);
    return result;
}
