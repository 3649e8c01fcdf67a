/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a thread's waits are counted. */
#include "core/base/waits.h"

_Thread_local struct waits waits_of_thread;
