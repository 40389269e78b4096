# A million random statements on a pmemkv table and on an ordinary one.  README.md tells.

$(BUILD)/kv-model: $(BUILD)/core/tests/kv-model/model.o $(BUILD)/core/tests/sqlmodel.o $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -o $@ $^ -lsqlite3 -lm $(LIBRARIES)

check-kv-model: deps
	@$(MAKE) --no-print-directory $(BUILD)/kv-model
	@BUILD=$(abspath $(BUILD)) ./tests/kv-model/check.sh

-include $(wildcard $(BUILD)/core/tests/kv-model/*.d)

.PHONY: check-kv-model
