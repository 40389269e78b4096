# The sanitizers, and valgrind: tests/sanitize/README.md.  Each has a build folder of its own.

# gcc warns that its thread sanitizer does not follow fences (README.md), and, in instrumented code only,
# of what might be used before it is set.
SANITIZED = $(MAKE) --no-print-directory $(JOBS) CFLAGS='-O1 -g -fno-omit-frame-pointer -Wno-tsan -Wno-maybe-uninitialized'
ASAN = BUILD=build-asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
TSAN = BUILD=build-tsan SANITIZE=-fsanitize=thread

$(BUILD)/threads: $(BUILD)/core/tests/sanitize/threads.o $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -o $@ $^ -lsqlite3 $(LIBRARIES)

build-for-asan: deps
	@$(SANITIZED) $(ASAN) build-asan/tests build-asan/threads

build-for-tsan: deps
	@$(SANITIZED) $(TSAN) build-tsan/tests build-tsan/threads

build-for-valgrind:
	@./tests/deps.sh valgrind
	@$(SANITIZED) BUILD=build-valgrind build-valgrind/tests

check-asan check-tsan check-valgrind: check-%: build-for-%
	@./tests/sanitize/run.sh $* short

soak-asan soak-tsan soak-valgrind: soak-%: build-for-%
	@./tests/sanitize/run.sh $* full

check-sanitizers: check-asan check-tsan check-valgrind
soak-sanitizers: soak-asan soak-tsan soak-valgrind

-include $(BUILD)/core/tests/sanitize/threads.d

.PHONY: build-for-asan build-for-tsan build-for-valgrind check-asan check-tsan check-valgrind \
	soak-asan soak-tsan soak-valgrind check-sanitizers soak-sanitizers
