# sqlite-pmem: build, test, demo, benchmarks.
#
#   make            build/pmem.so; installs nothing
#   make demo       from a bare checkout: dependencies, build, a tour on real data
#   make test       from a bare checkout: dependencies, build, every test
#   make bench      dependencies, build, the benchmarks as ratios
#   make deps       what Debian must have; installed with root or sudo
#   make install    PREFIX=/usr/local DESTDIR=

VERSION = 0.1.0
PREFIX = /usr/local
CC = gcc

BUILD = build
SANITIZE =
WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
CFLAGS = -O2 -g
ALL_CFLAGS = -std=gnu11 -fPIC -fvisibility=hidden $(WARNINGS) $(CFLAGS) $(SANITIZE) \
	-DSPM_VERSION='"$(VERSION)"'
LIBRARIES = -lpmem -lpthread
JOBS = -j$(shell nproc)

ENGINE = $(wildcard vfs/*.c vfs/store/*.c ext/kv/*.c)
SOURCES = $(wildcard ext/*.c) $(ENGINE)
OBJECTS = $(SOURCES:%.c=$(BUILD)/ext/%.o)
# The same sources for programs that are linked with SQLite: the unit tests.
CORE_OBJECTS = $(ENGINE:%.c=$(BUILD)/core/%.o)

all: $(BUILD)/pmem.so

$(BUILD)/pmem.so: $(OBJECTS)
	$(CC) -shared $(SANITIZE) -o $@ $^ -Wl,-z,defs -Wl,-z,nodelete $(LIBRARIES)

$(BUILD)/ext/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/core/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DSQLITE_CORE -MMD -MP -c -o $@ $<

deps:
	@./tests/deps.sh

demo: deps
	@$(MAKE) --no-print-directory $(JOBS) all
	@./sql/demo.sh

test: deps
	@$(MAKE) --no-print-directory $(JOBS) check

include tests/tests.mk

install: all
	install -D -m 755 $(BUILD)/pmem.so $(DESTDIR)$(PREFIX)/lib/sqlite3/pmem.so

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/lib/sqlite3/pmem.so

clean:
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d) $(CORE_OBJECTS:.o=.d)

.PHONY: all deps demo test bench check install uninstall clean
