# make coverage: see README.md here.

COVERAGE = $(BUILD)/coverage
COVERAGE_MAKE = $(MAKE) --no-print-directory $(JOBS) BUILD=$(COVERAGE) SANITIZE=--coverage CFLAGS='-O1 -g -Wno-error' \
	LIBRARIES='$(CURDIR)/$(COVERAGE)/dump.o -Wl,--wrap=_exit -Wl,--wrap=raise -Wl,--wrap=kill $(LIBRARIES)'

coverage:
	@./tests/deps.sh coverage
	@mkdir -p $(COVERAGE)
	@$(CC) -O1 -fPIC -c -o $(COVERAGE)/dump.o tests/coverage/dump.c
	@$(COVERAGE_MAKE) all $(COVERAGE)/tests $(COVERAGE)/faults
	@COVERAGE=$(CURDIR)/$(COVERAGE) ./tests/coverage/run.sh

.PHONY: coverage
