# A real DAX path: a machine with an emulated NVDIMM.  README.md tells.

$(BUILD)/dax/cut: $(BUILD)/core/tests/dax/cut.o $(BUILD)/core/tests/bank.o
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $^ -lsqlite3

check-dax soak-dax: deps
	@./tests/deps.sh dax
	@$(MAKE) --no-print-directory all $(BUILD)/tests $(BUILD)/dax/cut
	@BUILD=$(abspath $(BUILD)) ./tests/dax/$(subst -dax,,$@).sh

-include $(BUILD)/core/tests/dax/cut.d

.PHONY: check-dax soak-dax
