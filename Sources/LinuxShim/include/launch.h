// Starting a process that outlives this one. The GNU extensions of posix_spawn (POSIX_SPAWN_SETSID,
// posix_spawn_file_actions_addclosefrom_np) need _GNU_SOURCE, which Swift's importer does not set.
#ifndef UNDERSTUDY_LAUNCH_H
#define UNDERSTUDY_LAUNCH_H

#include <sys/types.h>

// Starts `arguments[0]` (a path; the list ends with NULL) in a session of its own, with the default action for every signal, none
// blocked, standard input from /dev/null, both outputs to the file at `log` (made or emptied, appended to) and no other descriptor.
// Returns the process id or a negative errno.
pid_t understudy_launch(char *const arguments[], const char *log);

// The same with `input` as standard input and without a place for outputs, in this process's session: for a helper that ends with its input.
pid_t understudy_launch_guard(char *const arguments[], int input);

#endif
