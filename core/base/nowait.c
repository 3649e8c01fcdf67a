/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether the calling thread must not wait. */
#include "core/base/nowait.h"

_Thread_local bool nowait_thread;
_Thread_local bool nowait_remote;
