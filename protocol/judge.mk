# SPDX-License-Identifier: BSD-3-Clause
# The foreign judge of our XDR codec: rpcgen's code for wfs.x on libtirpc, linked into one unit test only.
JUDGE_CFLAGS := -isystem $(O)/gen $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libtirpc 2>/dev/null))
JUDGE_OBJ := $(O)/gen/wfs_judge.o

$(O)/gen/wfs_judge.h: protocol/wfs.x
	$(Q)mkdir -p $(@D) && cp $< $(@D)/wfs_judge.x
	$(call say,RPCGEN,$@)cd $(@D) && rpcgen -h wfs_judge.x >wfs_judge.h
$(O)/gen/wfs_judge.c: $(O)/gen/wfs_judge.h
	$(call say,RPCGEN,$@)cd $(@D) && rpcgen -c wfs_judge.x >wfs_judge.c
$(JUDGE_OBJ): $(O)/gen/wfs_judge.c
	$(call say,CC,$@)$(CC) $(JUDGE_CFLAGS) -std=gnu11 -fPIC -w $(CFLAGS_$(BUILD)) -c -o $@ $<
$(O)/tests/unit/protocol/judge_test.o: CPPFLAGS += $(JUDGE_CFLAGS)
$(O)/tests/unit/protocol/judge_test.o: $(O)/gen/wfs_judge.h
$(O)/unit/protocol/judge_test: LIBS_TEST += $(JUDGE_OBJ) $(shell pkg-config --libs libtirpc 2>/dev/null)
$(O)/unit/protocol/judge_test: $(JUDGE_OBJ)

# The plugin is loaded once per NBD connection: no needless libraries, and only plugin_init is visible.
$(O)/nbdkit-wfs-plugin.so: LDFLAGS += -Wl,--as-needed -Wl,--exclude-libs,ALL
