# The crash-state enumerator (README.md).
#
#   make check-crash    a fixed seed and a random one, 50,000 distinct images each
#   make soak-crash     other seeds without end; interrupt it for the table
#
# The medium is handed in by the linker: see record.c.

CRASH_SOURCES = $(wildcard tests/crash/*.c)
CRASH_OBJECTS = $(CRASH_SOURCES:%.c=$(BUILD)/core/%.o)
CRASH_LINK = -Wl,--wrap=spm_media_of
CRASH_SEED = 20260101
CRASH_RUN = $(BUILD)/crash --keep $(BUILD)/crash-kept

$(BUILD)/crash: $(CRASH_OBJECTS) $(CORE_OBJECTS)
	$(CC) $(SANITIZE) $(CRASH_LINK) -o $@ $^ -lsqlite3 $(LIBRARIES)

# Built along with the tests, so that a change of the engine's interface shows at once.
$(BUILD)/tests: | $(BUILD)/crash

check-crash: deps
	@$(MAKE) --no-print-directory $(BUILD)/crash
	$(CRASH_RUN) --images 45000 --least 50000 --seed $(CRASH_SEED)
	$(CRASH_RUN) --images 45000 --least 50000

soak-crash: deps
	@$(MAKE) --no-print-directory $(BUILD)/crash
	$(CRASH_RUN) --images 1000000 --soak

-include $(CRASH_OBJECTS:.o=.d)

.PHONY: check-crash soak-crash
