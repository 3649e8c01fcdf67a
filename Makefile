# SPDX-License-Identifier: BSD-3-Clause
# wfsd: build, test, run. "make help" lists the targets.
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2);
endif

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
# BUILD: release, debug, asan, tsan, clang (each has its own object tree).
BUILD ?= release
O := build/$(BUILD)

PKGS := liburing libevent libevent_pthreads libxxhash libisal liburcu libcyaml jansson libcurl libsystemd
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wconversion -Wno-sign-conversion
CFLAGS_release := -O2 -g
CFLAGS_clang := -O2 -g
CFLAGS_debug := -O1 -g -DWFSD_DEBUG
CFLAGS_asan := -O1 -g -DWFSD_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -DWFSD_DEBUG -fsanitize=thread -fno-omit-frame-pointer
ifeq ($(BUILD),clang)
CC := clang
WARN += -Wthread-safety
endif
ifeq ($(BUILD),tsan)
CC := clang
endif
WERROR ?= -Werror
CPPFLAGS += -I. -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
ifneq ($(filter asan tsan debug,$(BUILD)),)
CPPFLAGS := $(filter-out -D_FORTIFY_SOURCE=2,$(CPPFLAGS))
endif
CFLAGS += -std=gnu11 -fPIC -pthread -fvisibility=hidden $(CFLAGS_$(BUILD)) $(WARN) $(WERROR)
LDFLAGS += -pthread $(filter -fsanitize=%,$(CFLAGS_$(BUILD)))

CORE_SRC := $(wildcard core/base/*.c core/blk/*.c core/cache/*.c core/vfs/*.c core/fs/*/*.c)
PROTO_SRC := $(wildcard protocol/xdr/*.c protocol/rpc/*.c protocol/*.c)
CLIENT_SRC := $(wildcard protocol/client/*.c)
SERVER_SRC := $(wildcard server/*.c server/loop/*.c server/net/*.c server/rpc/*.c server/nbd/*.c server/admin/*.c server/conf/*.c server/jobs/*.c)
CTL_SRC := $(wildcard server/ctl/*.c)
PLUGIN_SRC := $(wildcard plugins/nbdkit/*.c)
BASE_SRC := $(wildcard core/base/*.c)
UNIT_SRC := $(wildcard tests/unit/*_test.c tests/unit/*/*_test.c tests/unit/*/*/*_test.c tests/unit/*/*/*/*_test.c)

obj = $(patsubst %.c,$(O)/%.o,$(1))
CORE_LIB := $(O)/libcore.a
PROTO_LIB := $(O)/libproto.a
CLIENT_LIB := $(O)/libwfs.a
UNIT_BIN := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRC))

LIBS_CORE := $(shell pkg-config --libs liburing libxxhash libisal liburcu 2>/dev/null)
LIBS_SERVER := $(shell pkg-config --libs libevent libevent_pthreads libcyaml jansson libsystemd 2>/dev/null) $(LIBS_CORE)
LIBS_CTL := $(shell pkg-config --libs jansson libcurl 2>/dev/null)

PROGRAMS := $(if $(SERVER_SRC),$(O)/wfsd) $(if $(CTL_SRC),$(O)/wfs) $(if $(PLUGIN_SRC),$(O)/nbdkit-wfs-plugin.so)

all: $(PROGRAMS) ## build the daemon, the command line and the plugin

$(O)/%.o: %.c Makefile
	$(Q)mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(CORE_LIB): $(call obj,$(CORE_SRC))
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^
$(PROTO_LIB): $(call obj,$(PROTO_SRC))
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^
$(CLIENT_LIB): $(call obj,$(CLIENT_SRC) $(PROTO_SRC) $(BASE_SRC))
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(O)/wfsd: $(call obj,$(SERVER_SRC)) $(PROTO_LIB) $(CORE_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_SERVER)
$(O)/wfs: $(call obj,$(CTL_SRC)) $(CLIENT_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_CTL) $(LIBS_CORE)
$(O)/nbdkit-wfs-plugin.so: $(call obj,$(PLUGIN_SRC)) $(CLIENT_LIB)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -shared -o $@ $^ $(LIBS_CORE)

$(O)/unit/%: $(O)/tests/unit/%.o $(CLIENT_LIB) $(PROTO_LIB) $(CORE_LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs cmocka) $(LIBS_CORE)

unit-build: $(UNIT_BIN)
unit: unit-build ## run the unit tests (BUILD=asan, tsan, clang, debug for other builds)
	$(Q)fail=0; for t in $(UNIT_BIN); do echo "== $$t"; $$t || fail=1; done; exit $$fail

clean: ## remove everything built
	rm -rf build

help: ## list the targets
	$(Q)grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: all unit unit-build clean help
.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)
