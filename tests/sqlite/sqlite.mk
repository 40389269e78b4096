# SQLite's own tests on the VFS (tests/sqlite/README.md).

SQLITE_SUITE = $(BUILD)/sqlite

sqlite-suite:
	@./tests/deps.sh sqlite
	@$(MAKE) --no-print-directory all
	@./tests/sqlite/build.sh $(SQLITE_SUITE)

check-sqlite: sqlite-suite
	@./tests/sqlite/testfixture.py

.PHONY: sqlite-suite check-sqlite
