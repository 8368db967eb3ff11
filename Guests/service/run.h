#pragma once

// Mounts the ext4 file system on `device` (a path, or serial:NUMBER) and runs its program /start with that file system as root.
_Noreturn void run_from(const char *device);
