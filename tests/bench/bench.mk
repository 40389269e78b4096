# The benchmarks: one program, which bench.sh runs on tmpfs and on disk.

BENCH_SOURCES = $(wildcard tests/bench/*.c)
BENCH_OBJECTS = $(BENCH_SOURCES:%.c=$(BUILD)/core/%.o)

$(BUILD)/bench: $(BENCH_OBJECTS) $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -o $@ $^ -llmdb -lrocksdb -lpmemobj -lsqlite3 $(LIBRARIES)

bench: deps
	@./tests/deps.sh bench
	@$(MAKE) --no-print-directory all $(BUILD)/bench
	@./tests/bench/bench.sh

-include $(BENCH_OBJECTS:.o=.d)
