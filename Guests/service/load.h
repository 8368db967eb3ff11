// The disk load: writes a disk as fast as it goes, for benchmarks. Nothing is checked.
//
//   7005 TCP   query  = bytes per write u64 | bit 0: at random places, bit 1: fdatasync after each write u64 | milliseconds u64
//              answer = writes u64 | nanoseconds u64
//
// Four processes write with O_DIRECT, each one request at a time, so that four are under way. Integers on the wire are big-endian.
#pragma once

#include "guest.h"

_Noreturn void load_for_ever(const char *device);
