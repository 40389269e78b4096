# make check-hostile: see README.md here.

check-hostile: deps
	@$(MAKE) --no-print-directory all
	@BUILD=$(CURDIR)/$(BUILD) ./tests/hostile/run.sh

.PHONY: check-hostile
