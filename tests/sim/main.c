/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulator's command line: a budget of time spread over processes, single cases by name, and mutations.
 *
 * Every case is a function of its scenario, seed and step. Cases run in child processes, so that an assertion that
 * fails, a deadlock or a crash is a result like any other: it is printed with the command that repeats it.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mutate.h"
#include "tests/sim/scenario.h"

#define JOBS_MAX 64u
#define SEQUENCES 2954u /* 14 + 14^2 + 14^3 */

enum mutation mutation_active;
bool verbose;

const struct scenario scenarios[] = {
	{ "repeat", "the same seed twice is the same run", scenario_repeat, 2 },
	{ "cuts", "a power cut at every write of a script", scenario_cuts, 12 },
	{ "wrap-cuts", "the same where the log goes around its ring", scenario_wrap_cuts, 6 },
	{ "import-cuts", "a power cut at every write of the import after a crash", scenario_import_cuts, 24 },
	{ "mirror-cuts", "a power cut at every write while a mirror changes", scenario_mirror_cuts, 8 },
	{ "io", "every request of a script fails", scenario_io_failures, 8 },
	{ "alloc", "every allocation of a script fails", scenario_alloc_failures, 3 },
	{ "media", "bits that flip, writes that are lost or go elsewhere", scenario_media, 800 },
	{ "transactions", "transactions on a file tree, and all kinds of trouble", scenario_transactions, 200 },
	{ "tx-large", "the same, each up to a quarter of the log", scenario_tx_large, 70 },
	{ "tx-io", "every request of some transactions fails", scenario_tx_io, 4 },
	{ "tx-alloc", "every allocation of some transactions fails", scenario_tx_alloc, 3 },
	{ "tx-import", "every request or allocation of the import after them fails", scenario_tx_import, 6 },
	{ "sequences", "every sequence of up to three operations, then a flush", scenario_sequences, SEQUENCES },
	{ "trees", "changes of a file tree at random, and all kinds of trouble", scenario_trees, 200 },
	{ "random", "clients at random, and all kinds of trouble", scenario_random, 0 },
};
const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

static const char *const mutation_names[MUTATION_COUNT] = {
	[MUTATION_NONE] = "none",
	[MUTATION_NO_BARRIER_BEFORE_ROOT] = "no-barrier-before-root",
	[MUTATION_REUSE_AT_ONCE] = "reuse-at-once",
	[MUTATION_FLUSH_LIES] = "flush-lies",
	[MUTATION_COMMIT_LIES] = "commit-lies",
	[MUTATION_NO_LOG_BARRIER] = "no-log-barrier",
	[MUTATION_LOG_RECORD_LOST] = "log-record-lost",
	[MUTATION_NO_DATA_CRC] = "no-data-crc",
	[MUTATION_NO_NODE_HASH] = "no-node-hash",
	[MUTATION_WRITE_ERROR_IGNORED] = "write-error-ignored",
	[MUTATION_FLUSH_ERROR_IGNORED] = "flush-error-ignored",
	[MUTATION_DIRTY_PAGE_LOST] = "dirty-page-lost",
	[MUTATION_DISCARD_BEHIND_CACHE] = "discard-behind-cache",
	[MUTATION_OLDER_ROOT] = "older-root",
	[MUTATION_NO_RECOVERY] = "no-recovery",
	[MUTATION_RECOVERY_TRUSTS_DATA] = "recovery-trusts-data",
	[MUTATION_TX_WRITES_UNSEEN] = "tx-writes-unseen",
	[MUTATION_TX_READS_UNSEEN] = "tx-reads-unseen",
	[MUTATION_TX_MOMENTS_MIXED] = "tx-moments-mixed",
	[MUTATION_TX_PART_LOST] = "tx-part-lost",
	[MUTATION_TX_PARTS_ALONE] = "tx-parts-alone",
	[MUTATION_TX_HALF_REPLAYED] = "tx-half-replayed",
	[MUTATION_TX_ABORT_STAYS] = "tx-abort-stays",
	[MUTATION_TX_GROUP_BETWEEN] = "tx-group-between",
	[MUTATION_TX_NOT_SETTLED] = "tx-not-settled",
	[MUTATION_TX_LOG_SPLIT] = "tx-log-split",
};

struct options {
	double seconds;
	unsigned jobs;
	uint64_t first_seed, seeds; /* of scenarios without a fixed count; 0 seeds: until the time is over */
	const struct scenario *scenario; /* NULL: all */
	uint64_t only_seed, only_step;
	bool random_only, mutations;
};

/* Shared with the children. */
struct shared {
	struct tally tally[JOBS_MAX];
	struct where where[JOBS_MAX];
	bool stop;
};
static struct shared *shared;
struct tally *tally;
struct where *where;

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void silent(void *ctx, enum log_level level, const char *area, const char *text)
{
	(void)ctx;
	if (verbose || !strcmp(area, "assert") || !strcmp(area, "sync"))
		fprintf(stderr, "log %d %s: %s\n", (int)level, area, text);
}

static void run_seed(const struct scenario *s, uint64_t seed, uint64_t only)
{
	snprintf(where->scenario, sizeof(where->scenario), "%s", s->name);
	where->seed = seed;
	where->step = only;
	s->run(seed, only);
}

static void run_job(const struct options *o, unsigned job, double end_s)
{
	for (unsigned i = 0; i < scenario_count && !o->random_only; i++) {
		const struct scenario *s = &scenarios[i];

		if (o->scenario && o->scenario != s)
			continue;
		for (uint64_t seed = 1 + job; seed <= s->fixed_count && !shared->stop; seed += o->jobs)
			run_seed(s, seed, 0);
	}
	for (uint64_t n = job; !shared->stop && (o->seeds ? n < o->seeds : now_s() < end_s); n += o->jobs)
		run_seed(&scenarios[scenario_count - 1], o->first_seed + n, 0);
}

/* Threads hand each other a baton: that is quickest on one processor, the @nth of those allowed. */
static void stay_on_processor(unsigned nth)
{
	cpu_set_t allowed, one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	nth %= (unsigned)CPU_COUNT(&allowed);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &allowed) || nth--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		(void)sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static pid_t start_job(const struct options *o, unsigned job, double end_s)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	tally = &shared->tally[job];
	where = &shared->where[job];
	stay_on_processor(job);
	/* What a mutation breaks is no news. */
	if (o->mutations && !verbose && !freopen("/dev/null", "w", stderr))
		_exit(2);
	run_job(o, job, end_s);
	exit(0);
}

static void add_tally(struct tally *sum, const struct tally *t)
{
	const uint64_t *from = (const uint64_t *)(const void *)t;
	uint64_t *to = (uint64_t *)(void *)sum;

	for (size_t i = 0; i < sizeof(*t) / sizeof(uint64_t); i++)
		to[i] += from[i];
}

static void print_tally(const struct tally *t, double seconds)
{
	printf("%llu cases, %llu operations, %llu power cuts, %llu failed requests, %llu failed allocations, %llu "
	       "imports, %llu checks, %llu pages compared, %.0f s of virtual time in %.1f s\n",
	       (unsigned long long)t->cases, (unsigned long long)t->ops, (unsigned long long)t->cuts,
	       (unsigned long long)t->io_failures, (unsigned long long)t->alloc_failures,
	       (unsigned long long)t->imports, (unsigned long long)t->checks, (unsigned long long)t->pages_compared,
	       (double)t->virtual_ns / 1e9, seconds);
}

static void print_failure(unsigned job, int status)
{
	const struct where *w = &shared->where[job];

	if (WIFSIGNALED(status))
		printf("FAILED: ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		printf("FAILED: status %d\n", WEXITSTATUS(status));
	printf("repeat with: build/sim/simulate --case %s:%llu:%llu", w->scenario, (unsigned long long)w->seed,
	       (unsigned long long)w->step);
	if (mutation_active)
		printf(" --mutation %s", mutation_names[mutation_active]);
	printf("\n");
}

/* Returns 0, or the number from 1 of the first job that failed, which ends the others. */
static unsigned run_all(const struct options *o, struct tally *ret_sum, double *ret_seconds)
{
	double start_s = now_s();
	pid_t pids[JOBS_MAX];
	unsigned failed = 0;

	memset(shared, 0, sizeof(*shared));
	memset(ret_sum, 0, sizeof(*ret_sum));
	for (unsigned i = 0; i < o->jobs; i++)
		pids[i] = start_job(o, i, start_s + o->seconds);
	for (unsigned left = o->jobs; left; left--) {
		int status;
		pid_t pid = wait(&status);

		for (unsigned i = 0; i < o->jobs; i++) {
			if (pids[i] != pid)
				continue;
			pids[i] = 0;
			if (!status || shared->stop)
				continue;
			shared->stop = true;
			failed = i + 1;
			if (!o->mutations)
				print_failure(i, status);
		}
		for (unsigned i = 0; i < o->jobs && shared->stop; i++)
			if (pids[i] > 0)
				kill(pids[i], SIGKILL);
	}
	for (unsigned i = 0; i < o->jobs; i++)
		add_tally(ret_sum, &shared->tally[i]);
	*ret_seconds = now_s() - start_s;
	return failed;
}

static int run_mutations(const struct options *o)
{
	unsigned missed = 0;

	for (unsigned i = MUTATION_NONE + 1; i < MUTATION_COUNT; i++) {
		struct tally sum;
		double seconds;
		unsigned caught;

		mutation_active = (enum mutation)i;
		caught = run_all(o, &sum, &seconds);
		missed += !caught;
		printf("%-23s %-6s %6.1f s %6llu cases %8llu operations %6llu power cuts", mutation_names[i],
		       caught ? "caught" : "MISSED", seconds, (unsigned long long)sum.cases,
		       (unsigned long long)sum.ops, (unsigned long long)sum.cuts);
		if (caught)
			printf("  %s:%llu:%llu", shared->where[caught - 1].scenario,
			       (unsigned long long)shared->where[caught - 1].seed,
			       (unsigned long long)shared->where[caught - 1].step);
		printf("\n");
		fflush(stdout);
	}
	printf("%u mutations, %u missed\n", MUTATION_COUNT - 1, missed);
	return missed ? 1 : 0;
}

static const struct scenario *find_scenario(const char *name, size_t len)
{
	for (unsigned i = 0; i < scenario_count; i++)
		if (strlen(scenarios[i].name) == len && !strncmp(scenarios[i].name, name, len))
			return &scenarios[i];
	return NULL;
}

static bool parse_case(const char *arg, struct options *o)
{
	const char *colon = strchr(arg, ':');
	char *end;

	o->scenario = find_scenario(arg, colon ? (size_t)(colon - arg) : strlen(arg));
	if (!o->scenario || !colon)
		return o->scenario != NULL;
	o->only_seed = strtoull(colon + 1, &end, 10);
	if (*end == ':')
		o->only_step = strtoull(end + 1, &end, 10);
	return !*end && o->only_seed;
}

static bool parse_mutation(const char *arg)
{
	for (unsigned i = 0; i < MUTATION_COUNT; i++)
		if (!strcmp(mutation_names[i], arg))
			mutation_active = (enum mutation)i;
	return mutation_active != MUTATION_NONE;
}

static int usage(void)
{
	fprintf(stderr, "usage: simulate [--seconds N] [--jobs N] [--seeds N] [--first-seed N] [--random-only]\n"
	                "                [--case SCENARIO[:SEED[:STEP]]] [--mutation NAME | --mutations] [--verbose]\n"
	                "scenarios:\n");
	for (unsigned i = 0; i < scenario_count; i++)
		fprintf(stderr, "  %-12s %s\n", scenarios[i].name, scenarios[i].what);
	fprintf(stderr, "mutations:");
	for (unsigned i = 1; i < MUTATION_COUNT; i++)
		fprintf(stderr, " %s", mutation_names[i]);
	fprintf(stderr, "\n");
	return 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "seconds", required_argument, NULL, 's' }, { "jobs", required_argument, NULL, 'j' },
		{ "seeds", required_argument, NULL, 'n' },   { "first-seed", required_argument, NULL, 'f' },
		{ "case", required_argument, NULL, 'c' },    { "mutation", required_argument, NULL, 'm' },
		{ "mutations", no_argument, NULL, 'M' },     { "random-only", no_argument, NULL, 'r' },
		{ "verbose", no_argument, NULL, 'v' },       { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			o->seconds = strtod(optarg, NULL);
		else if (c == 'j')
			o->jobs = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'n')
			o->seeds = strtoull(optarg, NULL, 10);
		else if (c == 'f')
			o->first_seed = strtoull(optarg, NULL, 10);
		else if (c == 'M')
			o->mutations = true;
		else if (c == 'r')
			o->random_only = true;
		else if (c == 'v')
			verbose = true;
		else if (c == '?' || (c == 'c' && !parse_case(optarg, o)) || (c == 'm' && !parse_mutation(optarg)))
			return false;
	}
	return optind == argc && o->jobs && o->jobs <= JOBS_MAX;
}

int main(int argc, char **argv)
{
	struct options o = { .seconds = 120, .jobs = 2, .first_seed = 1 };
	struct tally sum;
	double seconds;
	unsigned failed;

	if (!parse(argc, argv, &o))
		return usage();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	tally = &shared->tally[0];
	where = &shared->where[0];
	log_set_sink(silent, NULL);
	if (!verbose)
		log_set_level(LOG_LEVEL_ERROR);
	if (o.only_seed) {
		stay_on_processor(0);
		run_seed(o.scenario, o.only_seed, o.only_step);
		print_tally(tally, 0);
		return 0;
	}
	if (o.mutations)
		return run_mutations(&o);
	failed = run_all(&o, &sum, &seconds);
	print_tally(&sum, seconds);
	return failed ? 1 : 0;
}
