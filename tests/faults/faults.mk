# make check-faults: see README.md here.

FAULT_SOURCES = $(wildcard tests/faults/*.c)
FAULT_OBJECTS = $(FAULT_SOURCES:%.c=$(BUILD)/core/%.o)
# The calls that the linker leads to inject.c.
FAULT_WRAPPED = malloc calloc realloc aligned_alloc strdup strndup asprintf realpath free open close stat fstat lseek \
	fstatfs access pread pwrite fsync fdatasync ftruncate posix_fallocate fallocate fchmod fchown unlink mmap munmap \
	madvise fcntl syscall pthread_create getrandom pmem_map_file pmem_memcpy pmem_drain clock_gettime nanosleep usleep
comma = ,

$(BUILD)/faults: $(FAULT_OBJECTS) $(CORE_OBJECTS)
	$(CC) $(SANITIZE) -o $@ $(FAULT_WRAPPED:%=-Wl$(comma)--wrap=%) $^ -lsqlite3 $(LIBRARIES)

check-faults soak-faults: deps
	@$(MAKE) --no-print-directory $(BUILD)/faults
	@BUILD=$(CURDIR)/$(BUILD) $(if $(filter soak-faults,$@),SPM_FAULT_STEP=1) ./tests/faults/run.sh

-include $(FAULT_OBJECTS:.o=.d)

.PHONY: check-faults soak-faults
