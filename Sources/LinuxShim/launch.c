#define _GNU_SOURCE
#include "launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

// Exactly one of `log` and `input` (at least 0) is used.
static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const char *log, int input) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    int error;
    if (log) {
        if ((error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0))) return error;
    } else if ((error = posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO))) {
        return error;
    }
    const char *output = log ? log : "/dev/null";
    if ((error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600))) return error;
    if ((error = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO))) return error;
    if ((error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1))) return error;
    if ((error = posix_spawnattr_setsigmask(attributes, &none))) return error;
    if ((error = posix_spawnattr_setsigdefault(attributes, &all))) return error;
    return posix_spawnattr_setflags(attributes, (log ? POSIX_SPAWN_SETSID : 0) | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static pid_t launch(char *const arguments[], const char *log, int input) {
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
    error = prepare(&actions, &attributes, log, input);
    if (!error) error = posix_spawn(&pid, arguments[0], &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error ? -error : pid;
}

pid_t understudy_launch(char *const arguments[], const char *log) { return launch(arguments, log, -1); }

pid_t understudy_launch_guard(char *const arguments[], int input) { return launch(arguments, NULL, input); }
