# Processes that are killed by the thousand.  README.md tells.

$(BUILD)/kills: $(BUILD)/core/tests/kills/kills.o $(BUILD)/core/tests/kills/aim.o $(BUILD)/core/tests/bank.o
	$(CC) $(SANITIZE) -o $@ $^ -lsqlite3

check-kills soak-kills: deps
	@$(MAKE) --no-print-directory all $(BUILD)/kills
	@BUILD=$(abspath $(BUILD)) ./tests/kills/$(subst -kills,,$@).sh

-include $(wildcard $(BUILD)/core/tests/kills/*.d)

.PHONY: check-kills soak-kills
