// SPDX-License-Identifier: Apache-2.0
// What Swift's importer cannot see of the kernel's interfaces; each header says why its functions exist.
#pragma once

#include "launch.h"
#include "links.h"
#include "memory.h"
#include "network.h"
#include "process.h"
#include "runtime.h"
