/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done in transactions, and what must then be found: transactions.c tells the rules. */
#ifndef WFSD_TESTS_SIM_TRANSACTIONS_H
#define WFSD_TESTS_SIM_TRANSACTIONS_H

#include "core/vfs/vfs_tx.h"
#include "tests/sim/run.h"

#define TX_FILES 6u
#define TX_OWNERS 3u /* of each class, from 0 */

struct tx_work {
	struct model *mo;
	struct rng rng;
	uint64_t floor; /* committed durably; atomic */
	unsigned ops, durable_one_in;
	bool large; /* each takes up to a quarter of the log */
	bool quotas; /* there are some, and files get other owners */
};

struct tx_client {
	struct tx_work *w;
	struct rng rng;
	struct sync_thread thread;
};

enum tx_action {
	TX_LOOK, /* is everything as the state says? */
	TX_CHANGE, /* files get their next version */
	TX_RAISE, /* one of the sides gets a number above both */
	TX_ACTIONS
};

/* transaction_answers.c: what is kept with the transaction that makes the state of that number. */
struct tx_answer {
	struct vfs_tag tag;
	struct vfs_answer answer;
	uint8_t buf[12000];
};
void tx_make_answer(uint64_t number, struct tx_answer *ret);
/* It is there, and none of a later one. */
int tx_check_answer(struct vfs_handle *top, uint64_t number);
/* A file system for them in the machine's pool, which is imported: with quotas if there are to be some. */
void tx_make_tree(struct tx_work *w);
int tx_open_top(struct machine *m, struct vfs_handle **ret);
/* One transaction. *@ret_number: of the state that a TX_CHANGE makes; 0: it gave up, or did not come that far. */
int tx_transact(struct tx_client *c, struct vfs_handle *outside, enum tx_action action, bool durable,
                uint64_t *ret_number);
/* Changes beside transactions: a file of its own, and owners of theirs. Errors that quotas and others explain are none.
 */
int tx_beside(struct tx_client *c, struct vfs_handle *top);
void tx_outsider_main(void *client);
/* Make the file, or replace its contents. */
int tx_write_file(struct vfs_handle *top, const char *name, const void *buf, size_t len);
void tx_name_of(unsigned file, uint64_t version, char name[8]);
/* An error that is no trouble: somebody else was faster, or there is no more room, for an owner or at all. */
bool tx_is_expected(const struct tx_work *w, int rc);
/* Outside of transactions: all is as the state says, whose number is *@ret_number. */
int tx_check(struct tx_work *w, uint64_t *ret_number);

#endif
