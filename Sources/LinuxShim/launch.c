#define _GNU_SOURCE
#include "launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const char *log) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    int error;
    if ((error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0))) return error;
    if ((error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600))) return error;
    if ((error = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO))) return error;
    if ((error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1))) return error;
    if ((error = posix_spawnattr_setsigmask(attributes, &none))) return error;
    if ((error = posix_spawnattr_setsigdefault(attributes, &all))) return error;
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

pid_t understudy_launch(char *const arguments[], const char *log) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return -error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    pid_t pid = 0;
    error = prepare(&actions, &attributes, log);
    if (!error) error = posix_spawn(&pid, arguments[0], &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error ? -error : pid;
}
