# SPDX-License-Identifier: BSD-3-Clause
# wfsd: build, test, run, install. "make help" lists the targets. Files are found by folder: adding one needs no change here.
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

VERSION := 0.1.0

V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2);
endif

ifeq ($(origin CC),default)
CC := gcc
endif
# Debian's, since the tests use its modules.
PYTHON := /usr/bin/python3
CLANG_FORMAT ?= clang-format

# For the makes that this one starts, unless -j was given.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# BUILD: release, debug, asan, tsan, clang, cov, fuzz, sim (each has its own object tree).
BUILD ?= release
O := build/$(BUILD)

PKGS := liburing libevent libevent_pthreads libxxhash libisal liburcu liburcu-cds yaml-0.1 jansson libcurl libsystemd gnutls libnfs
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wconversion -Wno-sign-conversion
CFLAGS_release := -O2 -g
CFLAGS_clang := -O2 -g
CFLAGS_debug := -O1 -g -DWFSD_DEBUG
CFLAGS_asan := -O1 -g -DWFSD_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -DWFSD_DEBUG -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_sim := -O2 -g -DWFSD_DEBUG -DWFSD_SIM
CFLAGS_cov := -O1 -g -DWFSD_DEBUG --coverage
CFLAGS_fuzz := -O1 -g -DWFSD_DEBUG -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
ifneq ($(filter clang tsan fuzz,$(BUILD)),)
CC := clang
# liburcu's list macros cast const away; gcc forgives that in a system header's macro.
WARN := $(filter-out -Wcast-qual,$(WARN))
endif
ifeq ($(BUILD),clang)
WARN += -Wthread-safety
endif
WERROR ?= -Werror
FORTIFY := $(if $(filter release clang,$(BUILD)),-D_FORTIFY_SOURCE=2)
CPPFLAGS += -I. -D_GNU_SOURCE -DWFSD_VERSION='"$(VERSION)"' $(FORTIFY) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS += -std=gnu11 -fPIC -pthread -fvisibility=hidden $(CFLAGS_$(BUILD)) $(WARN) $(WERROR)
LDFLAGS += -pthread $(filter -fsanitize=% --coverage,$(CFLAGS_$(BUILD)))

# Threads, locks and clocks: one implementation.
NOT_SYNC := core/base/sync_$(if $(filter sim,$(BUILD)),pthread,sim).c
CORE_SRC := $(filter-out $(NOT_SYNC),$(wildcard core/base/*.c core/blk/*.c core/cache/*.c core/vfs/*.c core/fs/*/*.c))
PROTO_SRC := $(wildcard protocol/xdr/*.c protocol/rpc/*.c protocol/tls/*.c protocol/*.c)
CLIENT_SRC := $(wildcard protocol/client/*.c)
CTL_SRC := $(wildcard server/ctl/*.c)
SERVER_SRC := $(filter-out $(CTL_SRC),$(wildcard server/*.c server/*/*.c))
# What the command line shares with the daemon.
CTL_SHARED_SRC := server/admin/encode.c server/admin/encode_check.c server/conf/policy.c server/conf/value.c
PLUGIN_SRC := $(wildcard plugins/nbdkit/*.c)
FUSE_SRC := $(wildcard plugins/fuse/*.c)
BASE_SRC := $(filter-out $(NOT_SYNC),$(wildcard core/base/*.c))
SIM_SRC := $(wildcard tests/sim/*.c)
UNIT_SRC := $(wildcard tests/unit/*_test.c tests/unit/*/*_test.c tests/unit/*/*/*_test.c tests/unit/*/*/*/*_test.c)
FUZZ_SRC := $(wildcard tests/fuzz/*_fuzz.c)
BENCH_SRC := $(wildcard tests/bench/*_bench.c)
FORMAT_SRC := $(shell find core protocol server plugins tests -name '*.[ch]' 2>/dev/null)

obj = $(patsubst %.c,$(O)/%.o,$(1))
CORE_LIB := $(O)/libcore.a
PROTO_LIB := $(O)/libproto.a
CLIENT_LIB := $(O)/libwfs.a
# The number counts changes that programs would have to be built anew for.
CLIENT_SO := $(O)/libwfs.so.0
# Everything but main(), for unit tests.
SERVER_LIB := $(O)/libserver.a
CTL_LIB := $(O)/libctl.a
PLUGIN_LIB := $(O)/libplugin.a
FUSE_LIB := $(O)/libfuse-mount.a
BASE_LIB := $(O)/libbase.a
BLK_LIB := $(O)/libblk.a
CACHE_LIB := $(O)/libcache.a
ALL_LIBS := $(SERVER_LIB) $(CTL_LIB) $(PLUGIN_LIB) $(CLIENT_LIB) $(CORE_LIB)
UNIT_BIN := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRC))
BENCH_BIN := $(patsubst tests/bench/%.c,$(O)/bench/%,$(BENCH_SRC))
FUZZ_BIN := $(patsubst tests/fuzz/%.c,build/fuzz/fuzz/%,$(FUZZ_SRC))

LIBS_CORE := $(shell pkg-config --libs liburing libxxhash libisal liburcu liburcu-cds 2>/dev/null)
LIBS_CLIENT := $(shell pkg-config --libs gnutls 2>/dev/null) $(LIBS_CORE)
LIBS_SERVER := $(shell pkg-config --libs libevent libevent_pthreads yaml-0.1 jansson libsystemd gnutls libnfs 2>/dev/null) $(LIBS_CORE)
LIBS_CTL := $(shell pkg-config --libs jansson libcurl 2>/dev/null)
# Of the import of shares (core/fs/nfs), for those who link it.
LIBS_NFS := $(shell pkg-config --libs libnfs 2>/dev/null)
# Of the mount only.
LIBS_FUSE := $(shell pkg-config --libs fuse3 2>/dev/null)
LIBS_TEST = $(shell pkg-config --libs cmocka) $(LIBS_SERVER) $(LIBS_CTL)

PROGRAMS := $(if $(SERVER_SRC),$(O)/wfsd) $(if $(CTL_SRC),$(O)/wfs) $(if $(PLUGIN_SRC),$(O)/nbdkit-wfs-plugin.so) $(if $(FUSE_SRC),$(O)/wfs-fuse) $(CLIENT_SO)

all: $(PROGRAMS) ## build the daemon, the command line, the nbdkit plugin and the mount
	@:

$(O)/%.o: %.c Makefile
	$(Q)mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define archive
$(Q)mkdir -p $(@D)
$(call say,AR,$@)rm -f $@ && ar qcs $@ $^
endef
$(BASE_LIB): $(call obj,$(BASE_SRC))
	$(archive)
$(BLK_LIB): $(call obj,$(wildcard core/blk/*.c))
	$(archive)
$(CACHE_LIB): $(call obj,$(wildcard core/cache/*.c))
	$(archive)
$(CORE_LIB): $(call obj,$(CORE_SRC))
	$(archive)
$(PROTO_LIB): $(call obj,$(PROTO_SRC))
	$(archive)
$(CLIENT_LIB): $(call obj,$(CLIENT_SRC) $(PROTO_SRC) $(BASE_SRC))
	$(archive)
$(SERVER_LIB): $(call obj,$(filter-out server/main.c,$(SERVER_SRC)))
	$(archive)
$(CTL_LIB): $(call obj,$(filter-out server/ctl/main.c,$(CTL_SRC)) $(CTL_SHARED_SRC))
	$(archive)
$(PLUGIN_LIB): $(call obj,$(PLUGIN_SRC))
	$(archive)
$(FUSE_LIB): $(call obj,$(filter-out plugins/fuse/main.c,$(FUSE_SRC)))
	$(archive)

$(CLIENT_SO): $(CLIENT_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -shared -Wl,-soname,$(@F) $(if $(filter -fsanitize=%,$(LDFLAGS)),,-Wl,-z,defs) -o $@ -Wl,--whole-archive $^ -Wl,--no-whole-archive $(LIBS_CLIENT)
$(O)/wfsd: $(call obj,$(SERVER_SRC)) $(PROTO_LIB) $(CORE_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_SERVER)
$(O)/wfs: $(call obj,$(CTL_SRC) $(CTL_SHARED_SRC)) $(CLIENT_LIB) $(CORE_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_CTL) $(LIBS_CLIENT)
$(O)/nbdkit-wfs-plugin.so: $(call obj,$(PLUGIN_SRC)) $(CLIENT_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -shared -o $@ $^ $(LIBS_CLIENT)
$(call obj,$(FUSE_SRC)) $(O)/tests/unit/plugins/fuse/%.o: CPPFLAGS += $(shell pkg-config --cflags fuse3 2>/dev/null)
$(O)/wfs-fuse: $(call obj,$(FUSE_SRC)) $(CLIENT_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_FUSE) $(LIBS_CLIENT)

# A unit test links its own layer and those below it, nothing else.
define unit_rule
$(O)/unit/$(1)%: $(O)/tests/unit/$(1)%.o $(2)
	$$(Q)mkdir -p $$(@D)
	$$(call say,LD,$$@)$$(CC) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $(2) -Wl,--end-group $$(LIBS_TEST)
endef
$(eval $(call unit_rule,,$(ALL_LIBS)))
$(eval $(call unit_rule,core/,$(CORE_LIB)))
$(eval $(call unit_rule,core/base/,$(BASE_LIB)))
$(eval $(call unit_rule,core/blk/,$(BLK_LIB) $(BASE_LIB)))
$(eval $(call unit_rule,core/cache/,$(CACHE_LIB) $(BLK_LIB) $(BASE_LIB)))
$(eval $(call unit_rule,protocol/,$(CLIENT_LIB)))
$(eval $(call unit_rule,server/,$(SERVER_LIB) $(CLIENT_LIB) $(CORE_LIB)))
$(eval $(call unit_rule,server/ctl/,$(CTL_LIB) $(CLIENT_LIB) $(CORE_LIB)))
$(eval $(call unit_rule,plugins/,$(PLUGIN_LIB) $(CLIENT_LIB)))
$(eval $(call unit_rule,plugins/fuse/,$(FUSE_LIB) $(CLIENT_LIB)))
$(O)/unit/plugins/fuse/%: LIBS_TEST += $(LIBS_FUSE)

$(O)/bench/filebench: $(O)/tests/bench/filebench.o $(CLIENT_LIB) $(CORE_LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_CLIENT)
$(O)/bench/%: $(O)/tests/bench/%.o $(CORE_LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_CORE) $(LIBS_NFS)

include protocol/judge.mk

unit-build: $(UNIT_BIN)
unit: ## run the unit tests (BUILD=release, clang, asan, tsan, debug)
	$(Q)$(PYTHON) tests/run.py unit:$(BUILD)
asan: ## unit tests with the address and undefined-behaviour sanitizers
	$(Q)$(PYTHON) tests/run.py unit:asan
tsan: ## unit tests with the thread sanitizer
	$(Q)$(PYTHON) tests/run.py unit:tsan
valgrind: ## unit tests, and a daemon with clients and mounts, under memcheck (installs missing packages as root)
	$(Q)tests/deps.sh build test valgrind
	$(Q)$(PYTHON) tests/run.py valgrind
py: ## end-to-end tests against the real daemon
	$(Q)$(PYTHON) tests/run.py py
soak: all $(O)/unit/server/rpc/storm_test ## kill the daemon a hundred times under load, for a minute under fio; a million random messages; ten minutes of random I/O on a mount
	$(Q)WFSD_STORM_MESSAGES=1000000 $(O)/unit/server/rpc/storm_test
	$(Q)WFSD_CRASH_CYCLES=100 WFSD_FIO_KILLS=24 $(PYTHON) -m pytest -q tests/py/test_crash.py tests/py/test_kill_fio.py
	$(Q)WFSD_NAMES=1000000 WFSD_WORKLOAD_S=60 WFSD_POSTGRES_KILLS=10 $(PYTHON) -m pytest -q tests/py/test_mount_workloads.py
	$(Q)WFSD_RANDOM_IO_S=600 $(PYTHON) -m pytest -q tests/py/test_mount_programs.py -k random_io
	$(Q)WFSD_PEER_SECONDS=120 $(PYTHON) -m pytest -q tests/py/test_mount_peer.py
guest: ## tests in a virtual machine with the stock kernel
	$(Q)$(PYTHON) tests/run.py guest
lint: ## include rules, sizes, headers, formatting
	$(Q)$(PYTHON) tests/lint/lint.py
format: ## format every C file
	$(Q)$(CLANG_FORMAT) -i $(FORMAT_SRC)

# The packages may be installed only now, so what the Makefile asked pkg-config for is asked again by a second make.
# Who only wants to use it is not stopped by a warning of another compiler.
check: ## every test (installs missing packages as root): ends with "N passed, N failed"
	$(Q)tests/deps.sh build run test
	$(Q)$(MAKE) --no-print-directory check-installed
check-installed:
	$(Q)WERROR='$(WERROR)' MAKE='$(MAKE)' $(PYTHON) tests/run.py all
demo: ## a volume over NBD, from nothing, in a minute (installs missing packages as root)
	$(Q)tests/deps.sh build run
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory all BUILD=release WERROR=
	$(Q)tests/demo/demo.sh build/release build/demo
run: ## the appliance in the foreground, with a pool on a file under var/
	$(Q)tests/deps.sh build run
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory all BUILD=release WERROR=
	$(Q)tests/demo/run.sh build/release var
deps: ## see that the Debian packages for building, running and testing are there
	$(Q)tests/deps.sh build run test
bench: ## measure volumes, files and mounts, each next to others; prints tables (root for all of it)
	$(Q)$(MAKE) --no-print-directory bench-nbd
	$(Q)$(MAKE) --no-print-directory bench-files
	$(Q)$(MAKE) --no-print-directory bench-mounts
bench-nbd: ## measure against other NBD servers; prints a table and JSON
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory all BUILD=release WERROR=
	$(Q)$(PYTHON) tests/bench/bench.py
bench-files: ## measure files over libwfs: small ones one by one and in batches, a large one; next to btrfs on this machine (root)
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory all build/release/bench/filebench build/release/bench/mountbench BUILD=release WERROR=
	$(Q)$(PYTHON) tests/bench/files.py
bench-mounts: ## measure small files on a mount, next to zfs-fuse and fuse2fs (root)
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory all build/release/bench/mountbench BUILD=release WERROR=
	$(Q)$(PYTHON) tests/bench/mounts_bench.py
bench-fat: ## measure the FAT engine on an image in memory, next to mtools
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory build/release/bench/fat_bench BUILD=release WERROR=
	$(Q)build/release/bench/fat_bench
bench-nfs: ## measure reading a large file of an NFS share, next to nfs-cp (root, nfs-ganesha)
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory build/release/bench/nfs_copy_bench BUILD=release WERROR=
	$(Q)$(PYTHON) tests/bench/nfs_bench.py
bench-core: $(BENCH_BIN) ## measure the page cache and the tree by themselves
	$(Q)set -e; for b in $(BENCH_BIN); do echo "bench-core: $${b##*/}"; $$b; done

SECONDS ?= 30
build/fuzz/fuzz/%: build/fuzz/tests/fuzz/%.o $(ALL_LIBS)
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@)$(CC) -pthread -fsanitize=fuzzer,address,undefined -o $@ $< -Wl,--start-group $(ALL_LIBS) \
		-Wl,--end-group $(LIBS_TEST)
fuzz-build: $(FUZZ_BIN)
fuzz: ## fuzz for SECONDS each (30); only what FUZZ names ("pool_fuzz"), or everything
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory fuzz-build BUILD=fuzz
	$(Q)for f in $(if $(FUZZ),$(FUZZ),$(notdir $(FUZZ_BIN))); do echo "fuzz: $$f"; \
		tests/fuzz/run.sh build/fuzz/fuzz/$$f build/fuzz/corpus/$$f -max_total_time=$(SECONDS) -verbosity=0 || exit 1; \
		done
fuzz-corpus: ## add to the kept corpus, minimised, what make fuzz has found
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory fuzz-build BUILD=fuzz
	$(Q)for f in $(if $(FUZZ),$(FUZZ),$(notdir $(FUZZ_BIN))); do mkdir -p tests/fuzz/corpus/$$f build/fuzz/corpus/$$f; \
		build/fuzz/fuzz/$$f -set_cover_merge=1 -max_len=4200 tests/fuzz/corpus/$$f build/fuzz/corpus/$$f || exit 1; done

# The simulator: production code of the core with its own threads and time; allocations can be made to fail.
SIM_WRAP := malloc calloc realloc aligned_alloc strdup getrandom
build/sim/simulate: $(patsubst %.c,build/sim/%.o,$(SIM_SRC)) $(CORE_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(SIM_WRAP:%=-Wl,--wrap=%) $(LIBS_CORE)
sim-build:
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory build/sim/simulate BUILD=sim
SIM_SECONDS ?= 110
sim: sim-build ## crashes, failing devices and every interleaving, simulated (two minutes)
	$(Q)build/sim/simulate --seconds $(SIM_SECONDS)
SEEDS ?= 10000
sim-long: sim-build ## the same with SEEDS random episodes
	$(Q)build/sim/simulate --seeds $(SEEDS)
sim-mutations: sim-build ## does the simulator see each law being broken?
	$(Q)build/sim/simulate --seconds $(SIM_SECONDS) --mutations

cov: ## line coverage of the unit tests (needs the package gcovr)
	$(Q)command -v gcovr >/dev/null || { echo 'make cov needs gcovr: apt-get install -y gcovr'; exit 1; }
	$(Q)$(PYTHON) tests/run.py unit:cov
	$(Q)gcovr --root . --object-directory build/cov --filter 'core/|protocol/|server/|plugins/' --sort-percentage

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
BINDIR := $(PREFIX)/bin
SBINDIR := $(PREFIX)/sbin
MANDIR := $(PREFIX)/share/man
PLUGINDIR = $(shell pkg-config --variable=plugindir nbdkit)
INSTALL := install
# Unit files name the daemon by its full path.
install_unit = sed 's|/usr/sbin/wfsd|$(SBINDIR)/wfsd|g;s|/usr/bin/wfs\b|$(BINDIR)/wfs|g' $(1) >$(DESTDIR)$(2)/$(notdir $(1)) && chmod 644 $(DESTDIR)$(2)/$(notdir $(1))
install: all ## install under DESTDIR and PREFIX (/usr/local)
	$(Q)$(INSTALL) -d $(addprefix $(DESTDIR),$(SBINDIR) $(BINDIR) $(PLUGINDIR) $(SYSCONFDIR)/wfsd $(PREFIX)/lib/systemd/system \
		$(PREFIX)/lib/sysusers.d $(PREFIX)/lib/tmpfiles.d $(MANDIR)/man1 $(MANDIR)/man3 $(MANDIR)/man5 $(MANDIR)/man8 \
		$(PREFIX)/share/bash-completion/completions $(PREFIX)/include $(PREFIX)/lib/pkgconfig)
	$(Q)$(INSTALL) -m 755 $(O)/wfsd $(DESTDIR)$(SBINDIR)/
	$(Q)$(INSTALL) -m 755 $(O)/wfs $(O)/wfs-fuse $(DESTDIR)$(BINDIR)/
	$(Q)ln -sf $(BINDIR)/wfs-fuse $(DESTDIR)$(SBINDIR)/mount.fuse.wfs
	$(Q)$(INSTALL) -m 644 $(O)/nbdkit-wfs-plugin.so $(DESTDIR)$(PLUGINDIR)/
	$(Q)$(INSTALL) -m 644 protocol/client/wfs.h $(DESTDIR)$(PREFIX)/include/
	$(Q)$(foreach h,wfs_tree.h wfs_watch.h,sed -E 's|"protocol/client/(wfs[a-z_]*\.h)"|"\1"|' protocol/client/$(h) >$(DESTDIR)$(PREFIX)/include/$(h) && chmod 644 $(DESTDIR)$(PREFIX)/include/$(h) && ) true
	$(Q)$(INSTALL) -m 644 $(CLIENT_LIB) $(CLIENT_SO) $(DESTDIR)$(PREFIX)/lib/
	$(Q)ln -sf $(notdir $(CLIENT_SO)) $(DESTDIR)$(PREFIX)/lib/libwfs.so
	$(Q)sed 's|@PREFIX@|$(PREFIX)|;s|@VERSION@|$(VERSION)|' protocol/client/libwfs.pc.in >$(DESTDIR)$(PREFIX)/lib/pkgconfig/libwfs.pc && chmod 644 $(DESTDIR)$(PREFIX)/lib/pkgconfig/libwfs.pc
	$(Q)$(INSTALL) -m 644 config/wfs.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/wfs
	$(Q)[ -e $(DESTDIR)$(SYSCONFDIR)/wfsd/wfsd.yaml ] || $(INSTALL) -m 644 config/wfsd.yaml $(DESTDIR)$(SYSCONFDIR)/wfsd/
	$(Q)$(foreach s,1 3 5 8,$(foreach m,$(wildcard docs/man/*.$(s)),$(INSTALL) -m 644 $(m) $(DESTDIR)$(MANDIR)/man$(s)/ && )) true
	$(Q)$(foreach u,$(wildcard systemd/*.service systemd/*.socket),$(call install_unit,$(u),$(PREFIX)/lib/systemd/system) && ) true
	$(Q)$(foreach u,$(wildcard systemd/*sysusers*),$(INSTALL) -m 644 $(u) $(DESTDIR)$(PREFIX)/lib/sysusers.d/wfsd.conf && ) true
	$(Q)$(foreach u,$(wildcard systemd/*tmpfiles*),$(INSTALL) -m 644 $(u) $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/wfsd.conf && ) true

clean: ## remove everything built
	rm -rf build

help: ## list the targets
	$(Q)grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: all unit unit-build asan tsan valgrind py soak guest lint format check check-installed demo run deps bench bench-nbd bench-files bench-mounts bench-fat bench-nfs bench-core fuzz fuzz-build fuzz-corpus cov \
	install clean help
.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)
