# SQLite's own tests on the VFS (tests/sqlite/README.md).

SQLITE_SUITE = $(BUILD)/sqlite/current

sqlite-suite:
	@./tests/deps.sh sqlite
	@$(MAKE) --no-print-directory all
	@./tests/sqlite/build.sh $(BUILD)/sqlite

check-sqlite: sqlite-suite
	@./tests/sqlite/programs.sh $(SQLITE_SUITE) $(BUILD)/pmem.so
	@./tests/sqlite/testfixture.py --suite $(SQLITE_SUITE) --extension $(BUILD)/pmem.so

soak-sqlite: sqlite-suite
	@./tests/sqlite/programs.sh $(SQLITE_SUITE) $(BUILD)/pmem.so long

.PHONY: sqlite-suite check-sqlite soak-sqlite
