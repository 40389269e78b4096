# The key-value store's longer proofs: tests/kv/README.md.
#
#   make check-kv-scale    millions of keys: space, order, reopening, deleting
#   make check-kv-memory   each allocation refused in turn

KV_FOLDER = $(if $(wildcard /dev/shm),/dev/shm,/tmp)
KV_ALLOCATORS = malloc calloc realloc aligned_alloc strdup
KV_COMMA = ,

$(BUILD)/kv-scale: $(BUILD)/core/tests/kv/scale.o $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -o $@ $^ -lsqlite3 $(LIBRARIES)

$(BUILD)/kv-memory: $(BUILD)/core/tests/kv/memory.o $(CORE_OBJECTS)
	$(CC) $(SANITIZE) $(KV_ALLOCATORS:%=-Wl$(KV_COMMA)--wrap=%) -o $@ $^ -lsqlite3 $(LIBRARIES)

check-kv-scale check-kv-memory: check-kv-%: deps
	@$(MAKE) --no-print-directory $(BUILD)/kv-$*
	@folder=$$(mktemp -d $(KV_FOLDER)/kv-$*.XXXXXX) && trap 'rm -rf "$$folder"' EXIT && \
	  PMEM_IS_PMEM_FORCE=1 $(BUILD)/kv-$* "$$folder"

-include $(BUILD)/core/tests/kv/scale.d $(BUILD)/core/tests/kv/memory.d

.PHONY: check-kv-scale check-kv-memory
