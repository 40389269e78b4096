# Planted faults (table.py): every one must be found by the proof it names.
#
#   make check-mutations            all of them
#   make check-mutations ONLY=name  this one

check-mutations: deps
	@$(MAKE) --no-print-directory $(BUILD)/crash $(BUILD)/tests
	python3 tests/mutations/run.py $(ONLY)

.PHONY: check-mutations
