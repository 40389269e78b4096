# The tests: one program with check, which also runs the scripts in tests/scripts.

TEST_SOURCES = $(wildcard tests/*.c)
TEST_OBJECTS = $(TEST_SOURCES:%.c=$(BUILD)/core/%.o)
TEST_CFLAGS = $(filter-out -Wpedantic,$(WARNINGS))

$(BUILD)/core/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(TEST_CFLAGS) $(CFLAGS) $(SANITIZE) -DSQLITE_CORE -MMD -MP -c -o $@ $<

$(BUILD)/tests: $(TEST_OBJECTS) $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -o $@ $^ -lcheck -lsubunit -lrt -lm -lsqlite3 $(LIBRARIES)

# Each proof of its own has a folder and a fragment there.
include $(wildcard tests/*/*.mk)

check: all $(BUILD)/tests
	@BUILD=$(CURDIR)/$(BUILD) ./tests/run.sh

-include $(TEST_OBJECTS:.o=.d)
