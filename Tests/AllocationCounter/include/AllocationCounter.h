#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

#include <stdint.h>

// How often this process has asked for memory since it began, in all threads together.
//
// The test program's own malloc and its relatives, which count and call glibc's: a symbol of the program goes before the library's.
// In C since Swift can neither define a C symbol that a library calls, nor run before its own runtime has allocated.
uint64_t allocation_count(void);

#endif
