// The journal: a file on a disk that holds the record of every request before its reply leaves.
#pragma once

#include "guest.h"

// Mounts the device (ext4) and opens its file for appending. Without this call the functions below do nothing.
void open_journal(const char *device);

void journal_append(const uint8_t record[RECORD]);

// Writes what was appended and waits until the disk has it: one write, one fdatasync.
void journal_commit(void);

// Commits and unmounts: nothing may be served afterwards.
void seal_journal(void);

// Records in the file.
uint64_t journal_length(void);
