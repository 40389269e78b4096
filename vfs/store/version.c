/*
** version.c - see version.h.
*/
#include "version.h"

#include <stdlib.h>
#include <string.h>

static uint64_t chunk_offset(uint32_t image) {
  return SPM_SHM_IMAGES + (uint64_t)(image / SPM_IMAGE_CHUNK) * SPM_IMAGE_CHUNK_SIZE;
}

static spm_image_meta *meta_of(spm_store *s, uint32_t image) {
  return (spm_image_meta *)(void *)(s->shared.base + chunk_offset(image)) + image % SPM_IMAGE_CHUNK;
}

static char *content_of(spm_store *s, uint32_t image) {
  return s->shared.base + chunk_offset(image) + SPM_IMAGE_CHUNK * sizeof(spm_image_meta) +
         (uint64_t)(image % SPM_IMAGE_CHUNK) * SPM_BLOCK_SIZE;
}

/* Shared memory may have been written over: an image is looked at only if all of its chunk
** is in the file, whatever the numbers say that lead to it. */
static bool image_there(spm_store *s, uint32_t image) {
  return image != SPM_IMAGE_NONE &&
         spm_region_holds(&s->shared, chunk_offset(image) + SPM_IMAGE_CHUNK_SIZE) == SQLITE_OK;
}

/* Images there is room for: no list is longer, or it goes in a circle. */
static uint32_t images_possible(const spm_store *s) {
  uint64_t bytes = atomic_load(&s->shared.allocated);
  if (bytes < SPM_SHM_IMAGES) return 0;
  return (uint32_t)((bytes - SPM_SHM_IMAGES) / SPM_IMAGE_CHUNK_SIZE) * SPM_IMAGE_CHUNK;
}

/* Are that many images in the file, which another process may just have made longer? */
static bool count_fits(spm_store *s, uint32_t count) {
  return count % SPM_IMAGE_CHUNK == 0 && spm_region_holds(&s->shared, chunk_offset(count)) == SQLITE_OK;
}

static _Atomic uint32_t *bucket_of(spm_shm *shm, uint32_t block) {
  return &shm->buckets[spm_hash_block(block, SPM_BUCKET_COUNT - 1)];
}

static void push_free(spm_store *s, uint32_t image) {
  spm_image_meta *meta = meta_of(s, image);
  atomic_store_explicit(&meta->until, 0, memory_order_release);
  atomic_store_explicit(&meta->newer, s->shm->image_free, memory_order_relaxed);
  s->shm->image_free = image;
  s->shm->image_free_count++;
}

static int add_chunk(spm_store *s) {
  spm_shm *shm = s->shm;
  uint32_t first = shm->image_count;
  if (!count_fits(s, first)) return spm_shm_broken(s, "the number of images");
  if (first >= SPM_IMAGE_NONE - SPM_IMAGE_CHUNK) return SQLITE_FULL;
  int rc = spm_region_grow(&s->shared, chunk_offset(first) + SPM_IMAGE_CHUNK_SIZE, SPM_BLOCK_SIZE);
  if (rc != SQLITE_OK) return rc;
  for (uint32_t i = SPM_IMAGE_CHUNK; i-- > 0;) push_free(s, first + i);
  shm->image_count = first + SPM_IMAGE_CHUNK;
  return SQLITE_OK;
}

int spm_versions_init(spm_store *s) {
  spm_shm *shm = s->shm;
  shm->image_count = 0;
  shm->image_free = SPM_IMAGE_NONE;
  shm->images = shm->pending = (spm_image_queue){SPM_IMAGE_NONE, SPM_IMAGE_NONE};
  for (uint32_t i = 0; i < SPM_BUCKET_COUNT; i++) atomic_store(&shm->buckets[i], SPM_IMAGE_NONE);
  return add_chunk(s);
}

int spm_versions_reserve(spm_store *s, uint64_t count) {
  int rc = spm_region_reaches(&s->shared, chunk_offset(s->shm->image_count));
  if (rc != SQLITE_OK) return rc;
  while (s->shm->image_free_count < count) {
    rc = add_chunk(s);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

/* The first image of the free list, taken out of it; SPM_IMAGE_NONE: there is none. */
static uint32_t take_free(spm_store *s) {
  spm_shm *shm = s->shm;
  uint32_t image = shm->image_free;
  if (!image_there(s, image) || atomic_load(&meta_of(s, image)->until) != 0) return SPM_IMAGE_NONE;
  shm->image_free = atomic_load(&meta_of(s, image)->newer);
  shm->image_free_count--;
  return image;
}

static bool is_pending(const spm_image_meta *meta) {
  return atomic_load_explicit(&meta->until, memory_order_acquire) == SPM_UNTIL_PENDING;
}

static spm_image_queue *queue_of(spm_shm *shm, const spm_image_meta *meta) {
  return is_pending(meta) ? &shm->pending : &shm->images;
}

/* Put an image behind the newest of its queue. */
static void enqueue_image(spm_store *s, uint32_t image) {
  spm_image_meta *meta = meta_of(s, image);
  spm_image_queue *queue = queue_of(s->shm, meta);
  atomic_store_explicit(&meta->newer, SPM_IMAGE_NONE, memory_order_relaxed);
  uint32_t newest = queue->newest;
  if (newest != SPM_IMAGE_NONE && !image_there(s, newest)) {
    (void)spm_shm_broken(s, "the newest image");
    newest = SPM_IMAGE_NONE;
  }
  meta->older = newest;
  if (newest == SPM_IMAGE_NONE)
    queue->oldest = image;
  else
    atomic_store(&meta_of(s, newest)->newer, image);
  queue->newest = image;
}

/* False: its neighbours are nowhere. */
static bool dequeue_image(spm_store *s, uint32_t image) {
  spm_image_meta *meta = meta_of(s, image);
  spm_image_queue *queue = queue_of(s->shm, meta);
  uint32_t newer = atomic_load(&meta->newer), older = meta->older;
  if ((newer != SPM_IMAGE_NONE && !image_there(s, newer)) || (older != SPM_IMAGE_NONE && !image_there(s, older)))
    return false;
  if (older == SPM_IMAGE_NONE)
    queue->oldest = newer;
  else
    atomic_store(&meta_of(s, older)->newer, newer);
  if (newer == SPM_IMAGE_NONE)
    queue->newest = older;
  else
    meta_of(s, newer)->older = older;
  return true;
}

/* Put an image in front of its bucket; complete by now, and counted. */
static void link_image(spm_store *s, uint32_t image) {
  spm_image_meta *meta = meta_of(s, image);
  _Atomic uint32_t *bucket = bucket_of(s->shm, atomic_load(&meta->block));
  atomic_store_explicit(&meta->next, atomic_load(bucket), memory_order_relaxed);
  atomic_store(bucket, image);
}

/* The first image of a block in its bucket, the newest, of those that are pending or of
** the others; SPM_IMAGE_NONE: there is none. */
static int first_image(spm_store *s, uint32_t block, bool pending, uint32_t *image) {
  uint32_t steps = 0;
  for (*image = atomic_load(bucket_of(s->shm, block)); *image != SPM_IMAGE_NONE;) {
    if (!image_there(s, *image) || steps++ > images_possible(s)) return spm_shm_broken(s, "a chain of images");
    const spm_image_meta *meta = meta_of(s, *image);
    if (atomic_load(&meta->block) == block && is_pending(meta) == pending) break;
    *image = atomic_load(&meta->next);
  }
  return SQLITE_OK;
}

/* A new image of `block`, complete but for what it is; SPM_IMAGE_NONE: shared memory is broken. */
static uint32_t new_image(spm_store *s, uint32_t block, const void *content) {
  uint32_t image = take_free(s);
  if (image == SPM_IMAGE_NONE) return image;
  memcpy(content_of(s, image), content, SPM_BLOCK_SIZE);
  atomic_store(&meta_of(s, image)->block, block);
  return image;
}

/* Its `until` says that it is complete, for the sweep of whoever inherits the writer lock. */
static void add_image(spm_store *s, uint32_t image, uint64_t since, uint64_t until) {
  spm_image_meta *meta = meta_of(s, image);
  atomic_store(&meta->since, since);
  atomic_store_explicit(&meta->until, until, memory_order_release);
  atomic_fetch_add(&s->shm->images_live, 1);
  if (until == SPM_UNTIL_PENDING) atomic_fetch_add(&s->shm->images_pending, 1);
  enqueue_image(s, image);
  link_image(s, image);
}

int spm_versions_save(spm_store *s, uint32_t block, uint64_t until, uint64_t newest) {
  uint32_t present;
  if (atomic_load(&s->shm->images_pending) > 0) { /* what X does not have is an image already */
    int rc = first_image(s, block, true, &present);
    if (rc != SQLITE_OK || present != SPM_IMAGE_NONE) return rc;
  }
  int rc = first_image(s, block, false, &present);
  if (rc != SQLITE_OK) return rc;
  if (present != SPM_IMAGE_NONE && atomic_load(&meta_of(s, present)->until) > newest) return SQLITE_OK;
  rc = spm_region_holds(&s->data, (uint64_t)block * SPM_BLOCK_SIZE + 1);
  if (rc == SQLITE_NOTFOUND) return spm_shm_broken(s, "what readers may need of the database");
  if (rc != SQLITE_OK) return rc;
  uint32_t image = new_image(s, block, s->data.base + (uint64_t)block * SPM_BLOCK_SIZE);
  if (image == SPM_IMAGE_NONE) return spm_shm_broken(s, "the free images");
  add_image(s, image, 0, until);
  return SQLITE_OK;
}

/* Take an image out of its bucket, where `link` points to it, and out of its queue, and
** put it with the retired ones.  What readers follow stays as it is: one that stands on
** it goes on to the rest of its chain. */
static bool unlink_image(spm_store *s, _Atomic uint32_t *link, uint32_t image, uint32_t *retired) {
  spm_image_meta *meta = meta_of(s, image);
  if (!dequeue_image(s, image)) return false;
  atomic_store(link, atomic_load(&meta->next));
  meta->older = *retired;
  *retired = image;
  if (is_pending(meta)) atomic_fetch_sub(&s->shm->images_pending, 1);
  atomic_fetch_sub(&s->shm->images_live, 1);
  return true;
}

/* Before anything that was unlinked is used again. */
static void move_on(spm_store *s) {
  atomic_fetch_add(&s->shm->versions_changed, 1);
  atomic_thread_fence(memory_order_release);
}

/* In a damaged chain one may have been unlinked twice. */
static void free_retired(spm_store *s, uint32_t image) {
  if (image == SPM_IMAGE_NONE) return;
  move_on(s);
  for (uint32_t steps = 0; image != SPM_IMAGE_NONE; steps++) {
    if (steps > images_possible(s)) {
      (void)spm_shm_broken(s, "the freed images");
      return;
    }
    uint32_t next = meta_of(s, image)->older;
    push_free(s, image);
    image = next;
  }
}

/* From wherever it stands in its chain.  False: the lists lead nowhere, or in a circle. */
static bool remove_image(spm_store *s, uint32_t image, uint32_t *retired) {
  uint32_t steps = 0;
  _Atomic uint32_t *link = bucket_of(s->shm, atomic_load(&meta_of(s, image)->block));
  for (uint32_t at; (at = atomic_load(link)) != image; link = &meta_of(s, at)->next)
    if (!image_there(s, at) || steps++ > images_possible(s)) return false;
  return unlink_image(s, link, image, retired);
}

void spm_versions_reclaim(spm_store *s, uint64_t oldest, uint32_t limit) {
  uint32_t retired = SPM_IMAGE_NONE;
  for (uint32_t image; limit-- > 0 && (image = s->shm->images.oldest) != SPM_IMAGE_NONE;) {
    bool there = image_there(s, image);
    if (there && atomic_load(&meta_of(s, image)->until) > oldest) break;
    if (there && remove_image(s, image, &retired)) continue;
    (void)spm_shm_broken(s, "the oldest images");
    break;
  }
  free_retired(s, retired);
}

void spm_versions_take_back(spm_store *s, uint64_t last) {
  uint32_t retired = SPM_IMAGE_NONE;
  for (uint32_t image; (image = s->shm->images.newest) != SPM_IMAGE_NONE;) {
    bool there = image_there(s, image);
    if (there && atomic_load(&meta_of(s, image)->until) <= last) break;
    if (there && remove_image(s, image, &retired)) continue;
    (void)spm_shm_broken(s, "the newest images");
    break;
  }
  free_retired(s, retired);
}

/* The `until` of the next older image of the same block, 0: there is none. */
static uint64_t until_before(spm_store *s, uint32_t image) {
  uint32_t block = atomic_load(&meta_of(s, image)->block);
  uint32_t steps = 0;
  for (uint32_t i = atomic_load(&meta_of(s, image)->next); image_there(s, i) && steps++ < images_possible(s);
       i = atomic_load(&meta_of(s, i)->next))
    if (atomic_load(&meta_of(s, i)->block) == block) return atomic_load(&meta_of(s, i)->until);
  return 0;
}

/* An image serves the snapshots from its predecessor's `until` up to its own. */
static bool image_needed(spm_store *s, uint32_t image, const uint64_t *snapshots, uint32_t count) {
  if (is_pending(meta_of(s, image))) return true;
  uint64_t from = until_before(s, image), until = atomic_load(&meta_of(s, image)->until);
  for (uint32_t i = 0; i < count && snapshots[i] < until; i++)
    if (snapshots[i] >= from) return true;
  return false;
}

/* One bucket.  False: its chain leads nowhere, or in a circle. */
static bool sweep_bucket(spm_store *s, _Atomic uint32_t *link, const uint64_t *snapshots, uint32_t count,
                         uint32_t *retired) {
  uint32_t steps = 0;
  for (uint32_t image; (image = atomic_load(link)) != SPM_IMAGE_NONE;) {
    if (!image_there(s, image) || steps++ > images_possible(s)) return false;
    if (image_needed(s, image, snapshots, count))
      link = &meta_of(s, image)->next;
    else if (!unlink_image(s, link, image, retired))
      return false;
  }
  return true;
}

void spm_versions_sweep(spm_store *s, const uint64_t *snapshots, uint32_t count, uint32_t buckets) {
  spm_shm *shm = s->shm;
  uint32_t retired = SPM_IMAGE_NONE;
  bool whole = true;
  while (whole && buckets-- > 0)
    whole = sweep_bucket(s, &shm->buckets[shm->sweep_bucket++ % SPM_BUCKET_COUNT], snapshots, count, &retired);
  if (!whole) (void)spm_shm_broken(s, "a chain of images");
  free_retired(s, retired);
}

/* ---- pending images ---- */

int spm_versions_pend(spm_store *s, uint32_t block, uint64_t since, const void *content) {
  uint32_t image = new_image(s, block, content);
  if (image == SPM_IMAGE_NONE) return spm_shm_broken(s, "the free images");
  add_image(s, image, since, SPM_UNTIL_PENDING);
  return SQLITE_OK;
}

const char *spm_versions_current(spm_store *s, uint32_t block) {
  uint32_t image;
  const char *in_place = s->data.base + (uint64_t)block * SPM_BLOCK_SIZE;
  if (atomic_load(&s->shm->images_pending) == 0) return in_place;
  if (first_image(s, block, true, &image) != SQLITE_OK || image == SPM_IMAGE_NONE) return in_place;
  return content_of(s, image);
}

/* Replaced by the commit `until`: for snapshots up to `newest` it is an image like others. */
static bool end_pending(spm_store *s, _Atomic uint32_t *link, uint32_t image, uint64_t until, uint64_t newest,
                        uint32_t *retired) {
  spm_image_meta *meta = meta_of(s, image);
  if (newest < atomic_load(&meta->since)) return unlink_image(s, link, image, retired);
  if (!dequeue_image(s, image)) return false;
  atomic_store(&meta->until, until);
  atomic_fetch_sub(&s->shm->images_pending, 1);
  enqueue_image(s, image);
  return true;
}

/* Behind a pending image in its chain there is one of the same block, or none. */
static bool end_replaced(spm_store *s, uint32_t image, uint64_t newest, uint32_t *retired) {
  spm_image_meta *meta = meta_of(s, image);
  uint32_t block = atomic_load(&meta->block), steps = 0;
  _Atomic uint32_t *link = &meta->next;
  for (uint32_t at; (at = atomic_load(link)) != SPM_IMAGE_NONE; link = &meta_of(s, at)->next) {
    if (!image_there(s, at) || steps++ > images_possible(s)) return false;
    const spm_image_meta *other = meta_of(s, at);
    if (atomic_load(&other->block) == block && is_pending(other))
      return end_pending(s, link, at, atomic_load(&meta->since), newest, retired);
  }
  return true;
}

int spm_versions_replace(spm_store *s, uint64_t since, uint64_t newest) {
  uint32_t retired = SPM_IMAGE_NONE, steps = 0;
  bool whole = true;
  for (uint32_t image = s->shm->pending.newest; whole && image != SPM_IMAGE_NONE; image = meta_of(s, image)->older) {
    whole = image_there(s, image) && steps++ <= images_possible(s);
    if (!whole || atomic_load(&meta_of(s, image)->since) < since) break;
    whole = end_replaced(s, image, newest, &retired);
  }
  free_retired(s, retired);
  return whole ? SQLITE_OK : spm_shm_broken(s, "the pending images");
}

/* Write the oldest pending images to X, `limit` and what is durable at most. */
static int write_pending(spm_store *s, uint64_t durable, uint32_t limit, uint32_t *written) {
  int rc = SQLITE_OK;
  *written = 0;
  for (uint32_t image = s->shm->pending.oldest; image != SPM_IMAGE_NONE && *written < limit;) {
    if (!image_there(s, image)) return spm_shm_broken(s, "the pending images");
    const spm_image_meta *meta = meta_of(s, image);
    uint64_t start = (uint64_t)atomic_load(&meta->block) * SPM_BLOCK_SIZE;
    if (atomic_load(&meta->since) > durable) break;
    rc = spm_region_holds(&s->data, start + SPM_BLOCK_SIZE);
    if (rc == SQLITE_NOTFOUND) return spm_shm_broken(s, "a pending image");
    if (rc == SQLITE_OK) rc = spm_store_bytes(&s->data, start, content_of(s, image), SPM_BLOCK_SIZE);
    if (rc != SQLITE_OK) break;
    s->shm->counters.file_bytes += SPM_BLOCK_SIZE;
    image = atomic_load(&meta->newer);
    ++*written;
  }
  return rc;
}

/* A reader that takes its copy of X between two of these copies again. */
static void note_moved(spm_store *s) {
  atomic_thread_fence(memory_order_seq_cst);
  atomic_fetch_add(&s->shm->pending_moved, 1);
}

int spm_versions_apply(spm_store *s, uint64_t durable, uint32_t limit, uint32_t *applied) {
  uint32_t retired = SPM_IMAGE_NONE, written;
  int rc = write_pending(s, durable, limit, &written);
  *applied = written;
  if (written == 0) return rc;
  /* After the writes and before the images go: who copied from X in between may find no
  ** image, and have half of each. */
  note_moved(s);
  for (bool whole = true; whole && written > 0; written--) {
    whole = image_there(s, s->shm->pending.oldest) && remove_image(s, s->shm->pending.oldest, &retired);
    if (!whole) rc = spm_shm_broken(s, "the pending images");
  }
  /* And before they are used again: who found one may still be copying it over what was
  ** right, and find none at a second look. */
  note_moved(s);
  free_retired(s, retired);
  return rc;
}

/* ---- after a dead writer ---- */

/* The queues must come back in LSN order.  Images of one commit are equal in it. */
static int compare_images(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  if (x[0] != y[0]) return x[0] < y[0] ? -1 : 1;
  return x[1] < y[1] ? -1 : x[1] > y[1];
}

/* What the dead one's last transaction would have put in place of X it is to put into X
** now, if it comes to be at all. */
static bool image_stays(spm_store *s, uint32_t image, uint64_t last) {
  const spm_image_meta *meta = meta_of(s, image);
  if (is_pending(meta)) return atomic_load(&meta->since) <= spm_committed_lsn(s->shm);
  return atomic_load(&meta->until) <= last;
}

/* Unlink the images above `last`, mark the others.  A chain that leads nowhere, or in a
** circle, is damage. */
static int walk_chains(spm_store *s, uint64_t last, uint32_t count, bool *linked) {
  spm_shm *shm = s->shm;
  for (uint32_t bucket = 0; bucket < SPM_BUCKET_COUNT; bucket++) {
    _Atomic uint32_t *link = &shm->buckets[bucket];
    for (uint32_t image; (image = atomic_load(link)) != SPM_IMAGE_NONE;) {
      if (image >= count || linked[image]) return spm_shm_broken(s, "a chain of images");
      linked[image] = image_stays(s, image, last);
      if (linked[image])
        link = &meta_of(s, image)->next;
      else
        atomic_store(link, atomic_load(&meta_of(s, image)->next));
    }
  }
  return SQLITE_OK;
}

/* Saved for the commit that is about to be finished, and not linked any more: its writer
** died in between.  Others that are not linked it was just freeing. */
static bool image_half_saved(spm_store *s, uint32_t image, uint64_t last) {
  uint64_t until = atomic_load(&meta_of(s, image)->until);
  return until > spm_committed_lsn(s->shm) && until <= last;
}

/* Empty queues and free list, and sort what belongs into each. */
static uint32_t sort_images(spm_store *s, uint64_t last, uint32_t count, const bool *linked, uint64_t (*order)[2]) {
  spm_shm *shm = s->shm;
  uint32_t live = 0;
  shm->image_free = SPM_IMAGE_NONE;
  shm->images = shm->pending = (spm_image_queue){SPM_IMAGE_NONE, SPM_IMAGE_NONE};
  shm->image_free_count = 0;
  for (uint32_t i = count; i-- > 0;) {
    if (linked[i] || image_half_saved(s, i, last)) {
      const spm_image_meta *meta = meta_of(s, i);
      order[live][0] = atomic_load(is_pending(meta) ? &meta->since : &meta->until);
      order[live++][1] = i;
    } else {
      push_free(s, i);
    }
  }
  qsort(order, live, sizeof *order, compare_images);
  return live;
}

int spm_versions_rebuild(spm_store *s, uint64_t last) {
  spm_shm *shm = s->shm;
  uint32_t count = shm->image_count;
  if (!count_fits(s, count)) return spm_shm_broken(s, "the number of images");
  uint64_t(*order)[2] = malloc(((size_t)count + 1) * sizeof *order);
  bool *linked = calloc((size_t)count + 1, sizeof *linked);
  int rc = order && linked ? walk_chains(s, last, count, linked) : SQLITE_NOMEM;
  if (rc == SQLITE_OK) {
    /* Its writer adds before it links and takes away after it has unlinked: for readers
    ** it has never been too small. */
    atomic_fetch_add(&shm->images_live, 1);
    move_on(s);
    uint32_t live = sort_images(s, last, count, linked, order), pending = 0;
    for (uint32_t i = 0; i < live; i++) {
      uint32_t image = (uint32_t)order[i][1];
      enqueue_image(s, image);
      pending += is_pending(meta_of(s, image));
      if (!linked[image]) link_image(s, image);
    }
    atomic_store(&shm->images_live, live);
    atomic_store(&shm->images_pending, pending);
    rc = spm_versions_replace(s, 0, UINT64_MAX); /* what it had published and not replaced yet */
  }
  free(linked);
  free(order);
  return rc;
}

/* ---- the reader's side ---- */

/* The image of `block` that `snapshot` needs; SPM_IMAGE_NONE if the block in place is
** right.  A walk that meets a change may go astray: so its steps are bounded, and false,
** it led nowhere or in a circle, means something only if there was no change. */
static bool find_image(spm_store *s, uint32_t block, uint64_t snapshot, uint32_t *best) {
  uint64_t best_until = UINT64_MAX;
  uint32_t steps = 0;
  *best = SPM_IMAGE_NONE;
  for (uint32_t i = atomic_load_explicit(bucket_of(s->shm, block), memory_order_acquire); i != SPM_IMAGE_NONE;) {
    if (!image_there(s, i) || steps++ > images_possible(s)) return false;
    spm_image_meta *meta = meta_of(s, i);
    uint64_t until = atomic_load_explicit(&meta->until, memory_order_acquire);
    bool serves = atomic_load_explicit(&meta->block, memory_order_relaxed) == block && until > snapshot &&
                  atomic_load_explicit(&meta->since, memory_order_relaxed) <= snapshot;
    if (serves && (*best == SPM_IMAGE_NONE || until < best_until)) { /* of equals the first is the newest */
      *best = i;
      best_until = until;
    }
    i = atomic_load_explicit(&meta->next, memory_order_acquire);
  }
  return true;
}

int spm_versions_read(spm_store *s, uint32_t block, uint64_t snapshot, uint32_t offset, uint32_t n,
                      void *to) {
  spm_shm *shm = s->shm;
  for (uint32_t attempt = 0; attempt < 1u << 14; attempt++) {
    uint64_t before = atomic_load_explicit(&shm->versions_changed, memory_order_acquire);
    uint32_t image;
    bool whole = find_image(s, block, snapshot, &image);
    if (image != SPM_IMAGE_NONE) memcpy(to, content_of(s, image) + offset, n);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&shm->versions_changed, memory_order_relaxed) != before) continue;
    if (!whole) return spm_shm_broken(s, "a chain of images");
    return image == SPM_IMAGE_NONE ? SQLITE_NOTFOUND : SQLITE_OK;
  }
  return SQLITE_BUSY;
}
