# SQLite's own tests on the VFS (tests/sqlite/README.md).

SQLITE_SUITE = $(BUILD)/sqlite/current

sqlite-suite:
	@./tests/deps.sh sqlite
	@$(MAKE) --no-print-directory all
	@./tests/sqlite/build.sh $(BUILD)/sqlite

check-sqlite: sqlite-suite
	@./tests/sqlite/programs.sh $(SQLITE_SUITE) $(BUILD)/pmem.so
	@./tests/sqlite/testfixture.py --suite $(SQLITE_SUITE) --extension $(BUILD)/pmem.so

# The files near the VFS at full length: ioerr, crash, fault, thread and their like.
check-sqlite-full: sqlite-suite
	@./tests/sqlite/testfixture.py --suite $(SQLITE_SUITE) --extension $(BUILD)/pmem.so --permutation full

soak-sqlite: sqlite-suite
	@./tests/sqlite/programs.sh $(SQLITE_SUITE) $(BUILD)/pmem.so long

.PHONY: sqlite-suite check-sqlite check-sqlite-full soak-sqlite
