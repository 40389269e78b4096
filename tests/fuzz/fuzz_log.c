/*
** fuzz_log.c - the log, and the database under it: damaged, signed or not, and recovered.
**
** ORACLE: recovery says yes exactly where the model does, and has the model's content;
** writing goes on from there, and is recovered in its turn.
*/
#include "crashed.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  program p = {bytes, n};
  damaged d;
  bool twice = program_byte(&p) % 4 == 0;
  damage(&d, &p, DAMAGE_LOG | DAMAGE_SUPERBLOCKS | DAMAGE_DATABASE);
  recover_and_compare(&d, twice);
  damaged_free(&d);
  return 0;
}
