/* SPDX-License-Identifier: BSD-3-Clause */
/* Assertions on our own mistakes; they stay on in release builds. Never for bytes from a disk or a network. */
#ifndef WFSD_CORE_BASE_ASSERT_H
#define WFSD_CORE_BASE_ASSERT_H

#define always(cond) (__builtin_expect(!(cond), 0) ? assert_failed(#cond, __FILE__, __LINE__) : (void)0)

/* Logs and aborts. */
_Noreturn void assert_failed(const char *cond, const char *file, int line);

#endif
