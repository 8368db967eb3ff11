// The block writers: a disk of which every block can be judged, from the disk alone and against the guest's memory.
//
// Every block of 4096 bytes that was ever written is 512 little-endian words of 64 bits:
//
//   magic "USBLOCK1" | number of the block | sequence number, from 1 | checksum | a stream that the two numbers determine
//
// The checksum is h = (h ^ word) * 0x100000001b3 from 0xcbf29ce484222325 on, over all words with that of the checksum zero. A sequence
// number occurs once per disk, but for the blocks of one write, which share it.
//
// The guest's memory holds the sequence number that each block must have, so that a machine that was put back to a checkpoint together
// with its disk finds every block as it remembers it, and otherwise does not.
//
//   7003 TCP   query  = 1 to check the whole disk, 0 u64 | 0 u64
//              state  = blocks written u64 | wrong blocks so far u64 | of the last check: blocks u64 | wrong u64 | first wrong u64
//
// Integers on the wire are big-endian. The first wrong blocks are also said on the serial console: UNDERSTUDY-BLOCKS-BAD and the number.
#pragma once

#include "guest.h"

_Noreturn void write_blocks_for_ever(const char *device);
