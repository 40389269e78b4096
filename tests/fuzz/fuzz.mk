# Fuzzing with clang's libFuzzer: tests/fuzz/README.md.
#
#   make check-fuzz   the kept corpus, a fixed seed and a new one; some four minutes
#   make fuzz         FUZZ_SECONDS for each target, from a new seed
#   make soak-fuzz    an hour for each

FUZZ_SECONDS = 60
FUZZ_TARGETS = log superblock shared options super kv data
FUZZ_BUILD = $(MAKE) --no-print-directory $(JOBS) BUILD=build-fuzz CC=clang CFLAGS='-O2 -g -fno-omit-frame-pointer' \
	SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined'
FUZZ_COMMON = $(filter-out tests/fuzz/fuzz_%,$(wildcard tests/fuzz/*.c))

$(BUILD)/fuzz_%: $(BUILD)/core/tests/fuzz/fuzz_%.o $(FUZZ_COMMON:%.c=$(BUILD)/core/%.o) $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -fsanitize=fuzzer -o $@ $^ -lsqlite3 $(LIBRARIES)

build-for-fuzz:
	@./tests/deps.sh fuzz
	@$(FUZZ_BUILD) $(FUZZ_TARGETS:%=build-fuzz/fuzz_%)

check-fuzz: build-for-fuzz
	@./tests/fuzz/run.sh check $(FUZZ_TARGETS)
fuzz: build-for-fuzz
	@./tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)
soak-fuzz: build-for-fuzz
	@./tests/fuzz/run.sh 3600 $(FUZZ_TARGETS)

-include $(wildcard $(BUILD)/core/tests/fuzz/*.d)

.PHONY: build-for-fuzz check-fuzz fuzz soak-fuzz
.SECONDARY:
