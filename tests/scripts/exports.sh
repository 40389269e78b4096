# The library exports its entry points and nothing else.
. tests/scripts/lib.inc
same "sqlite3_pmem_init sqlite3_pmemdefault_init" \
  "$(nm -D --defined-only "$LIB.so" | awk '{print $3}' | sort | xargs)" "exported symbols"
