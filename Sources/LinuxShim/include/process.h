// Calls on other processes and on pipes that Swift's importer cannot express: variadic functions, macros of <sys/socket.h>
// that are function-like (CMSG_*), system calls without a libc wrapper, and types of GNU extensions (struct ucred).
#ifndef UNDERSTUDY_PROCESS_H
#define UNDERSTUDY_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// All functions return a negative errno on failure.

// Sends up to `length` bytes on a Unix socket, without SIGPIPE and without waiting; `descriptor` >= 0 travels with them (SCM_RIGHTS).
// Returns the number of bytes sent. Needed because CMSG_FIRSTHDR and CMSG_DATA are macros.
ssize_t understudy_send_with_descriptor(int socket, const void *bytes, size_t length, int descriptor);

// Receives like recv without waiting; a descriptor that came along is stored in *descriptor (close-on-exec), otherwise -1.
ssize_t understudy_receive_with_descriptor(int socket, void *bytes, size_t capacity, int *descriptor);

// Connects a new close-on-exec stream socket to the Unix socket at `path`. struct sockaddr_un is imported with a tuple for its path.
int understudy_connect_unix(const char *path);

// Binds and listens on a new close-on-exec Unix stream socket.
int understudy_listen_unix(const char *path, int backlog);

// The process at the other end of a Unix socket: whoever connected, or whoever called listen. struct ucred needs _GNU_SOURCE.
int understudy_peer_credentials(int socket, pid_t *pid, uid_t *uid, gid_t *gid);

// pidfd_open(2) and pidfd_getfd(2): no libc wrapper in every supported libc.
int understudy_pidfd_open(pid_t pid);
int understudy_pidfd_getfd(int pidfd, int descriptor);

// pidfd_send_signal(2): the signal reaches the process that the pidfd was opened for, never a later owner of its number.
int understudy_pidfd_send_signal(int pidfd, int signal);

// F_SETPIPE_SZ and F_GETPIPE_SZ need _GNU_SOURCE, and fcntl is variadic. Returns the capacity in bytes.
int understudy_set_pipe_capacity(int pipe, int bytes);
int understudy_pipe_capacity(int pipe);

// The number of bytes waiting in a pipe or socket. ioctl is variadic.
int understudy_bytes_waiting(int descriptor);

// The number of bytes written to a socket that its reader has not taken yet, as the kernel accounts them. ioctl is variadic.
int understudy_bytes_untaken(int socket);

// A pipe whose ends are close-on-exec and whose read end does not block. pipe2 needs _GNU_SOURCE.
int understudy_make_pipe(int *read_end, int *write_end);

// setns(2) into the network namespace that `descriptor` names. Needs _GNU_SOURCE.
int understudy_enter_network_namespace(int descriptor);

// RTM_GETLINK dump in the caller's network namespace: calls `visit` once per interface. `kind` and `master` are "" and 0 when absent.
// The netlink message macros (NLMSG_*, RTA_*) are function-like.
int understudy_list_interfaces(void *context, void (*visit)(void *context, int index, const char *name, const char *kind, int master));

#endif
