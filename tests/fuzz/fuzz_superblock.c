/*
** fuzz_superblock.c - the two superblocks of a log: damaged, signed or not.
**
** ORACLE: as for the log (fuzz_log.c).
*/
#include "crashed.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  program p = {bytes, n};
  damaged d;
  damage(&d, &p, DAMAGE_SUPERBLOCKS);
  recover_and_compare(&d, false);
  damaged_free(&d);
  return 0;
}
