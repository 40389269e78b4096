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
  uint32_t hash = block * 2654435769u;
  return &shm->buckets[hash >> 18];
}
static_assert(SPM_BUCKET_COUNT == 1u << (32 - 18), "bucket_of() fits the table");

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
  shm->image_free = shm->image_oldest = shm->image_newest = SPM_IMAGE_NONE;
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

/* Put an image behind the newest of the queue. */
static void enqueue_image(spm_store *s, uint32_t image) {
  spm_shm *shm = s->shm;
  spm_image_meta *meta = meta_of(s, image);
  atomic_store_explicit(&meta->newer, SPM_IMAGE_NONE, memory_order_relaxed);
  uint32_t newest = shm->image_newest;
  if (newest != SPM_IMAGE_NONE && !image_there(s, newest)) {
    (void)spm_shm_broken(s, "the newest image");
    newest = SPM_IMAGE_NONE;
  }
  meta->older = newest;
  if (newest == SPM_IMAGE_NONE)
    shm->image_oldest = image;
  else
    atomic_store(&meta_of(s, newest)->newer, image);
  shm->image_newest = image;
}

/* Put an image in front of its bucket; complete by now, and counted. */
static void link_image(spm_store *s, uint32_t image) {
  spm_image_meta *meta = meta_of(s, image);
  _Atomic uint32_t *bucket = bucket_of(s->shm, atomic_load(&meta->block));
  atomic_store_explicit(&meta->next, atomic_load(bucket), memory_order_relaxed);
  atomic_store(bucket, image);
}

/* The newest image of a block is the first of its block in the bucket: its `until`, or 0. */
static int newest_until(spm_store *s, uint32_t block, uint64_t *until) {
  uint32_t steps = 0;
  *until = 0;
  for (uint32_t i = atomic_load(bucket_of(s->shm, block)); i != SPM_IMAGE_NONE; i = atomic_load(&meta_of(s, i)->next)) {
    if (!image_there(s, i) || steps++ > images_possible(s)) return spm_shm_broken(s, "a chain of images");
    if (atomic_load(&meta_of(s, i)->block) != block) continue;
    *until = atomic_load(&meta_of(s, i)->until);
    break;
  }
  return SQLITE_OK;
}

int spm_versions_save(spm_store *s, uint32_t block, uint64_t until, uint64_t newest) {
  uint64_t present;
  int rc = newest_until(s, block, &present);
  if (rc != SQLITE_OK || present > newest) return rc;
  rc = spm_region_holds(&s->data, (uint64_t)block * SPM_BLOCK_SIZE + 1);
  if (rc == SQLITE_NOTFOUND) return spm_shm_broken(s, "what readers may need of the database");
  if (rc != SQLITE_OK) return rc;
  uint32_t image = take_free(s);
  if (image == SPM_IMAGE_NONE) return spm_shm_broken(s, "the free images");
  spm_image_meta *meta = meta_of(s, image);
  memcpy(content_of(s, image), s->data.base + (uint64_t)block * SPM_BLOCK_SIZE, SPM_BLOCK_SIZE);
  atomic_store(&meta->block, block);
  /* Complete from here on, for the sweep of whoever inherits the writer lock. */
  atomic_store_explicit(&meta->until, until, memory_order_release);
  atomic_fetch_add(&s->shm->images_live, 1);
  enqueue_image(s, image);
  link_image(s, image);
  return SQLITE_OK;
}

/* Take an image out of its bucket, where `link` points to it, and out of the queue, and
** put it with the retired ones.  What readers follow stays as it is: one that stands on
** it goes on to the rest of its chain. */
static bool unlink_image(spm_store *s, _Atomic uint32_t *link, uint32_t image, uint32_t *retired) {
  spm_shm *shm = s->shm;
  spm_image_meta *meta = meta_of(s, image);
  uint32_t newer = atomic_load(&meta->newer), older = meta->older;
  if ((newer != SPM_IMAGE_NONE && !image_there(s, newer)) || (older != SPM_IMAGE_NONE && !image_there(s, older)))
    return false;
  atomic_store(link, atomic_load(&meta->next));
  if (older == SPM_IMAGE_NONE)
    shm->image_oldest = newer;
  else
    atomic_store(&meta_of(s, older)->newer, newer);
  if (newer == SPM_IMAGE_NONE)
    shm->image_newest = older;
  else
    meta_of(s, newer)->older = older;
  meta->older = *retired;
  *retired = image;
  atomic_fetch_sub(&shm->images_live, 1);
  return true;
}

/* Before anything that was unlinked is used again. */
static void move_on(spm_store *s) {
  atomic_fetch_add(&s->shm->versions_changed, 1);
  atomic_thread_fence(memory_order_release);
}

static void free_retired(spm_store *s, uint32_t image) {
  if (image == SPM_IMAGE_NONE) return;
  move_on(s);
  while (image != SPM_IMAGE_NONE) {
    uint32_t next = meta_of(s, image)->older;
    push_free(s, image);
    image = next;
  }
}

/* False: the lists lead nowhere, or in a circle. */
static bool unlink_oldest(spm_store *s, uint32_t *retired) {
  uint32_t image = s->shm->image_oldest, steps = 0;
  _Atomic uint32_t *link = bucket_of(s->shm, atomic_load(&meta_of(s, image)->block));
  for (uint32_t at; (at = atomic_load(link)) != image; link = &meta_of(s, at)->next)
    if (!image_there(s, at) || steps++ > images_possible(s)) return false;
  return unlink_image(s, link, image, retired);
}

void spm_versions_reclaim(spm_store *s, uint64_t oldest, uint32_t limit) {
  uint32_t retired = SPM_IMAGE_NONE;
  for (uint32_t image; limit-- > 0 && (image = s->shm->image_oldest) != SPM_IMAGE_NONE;) {
    bool there = image_there(s, image);
    if (there && atomic_load(&meta_of(s, image)->until) > oldest) break;
    if (there && unlink_oldest(s, &retired)) continue;
    (void)spm_shm_broken(s, "the oldest images");
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

/* The queue must come back in LSN order.  Images of one commit are equal in it. */
static int compare_images(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  if (x[0] != y[0]) return x[0] < y[0] ? -1 : 1;
  return x[1] < y[1] ? -1 : x[1] > y[1];
}

/* Unlink the images above `last`, mark the others.  A chain that leads nowhere, or in a
** circle, is damage. */
static int walk_chains(spm_store *s, uint64_t last, uint32_t count, bool *linked) {
  spm_shm *shm = s->shm;
  for (uint32_t bucket = 0; bucket < SPM_BUCKET_COUNT; bucket++) {
    _Atomic uint32_t *link = &shm->buckets[bucket];
    for (uint32_t image; (image = atomic_load(link)) != SPM_IMAGE_NONE;) {
      if (image >= count || linked[image]) return spm_shm_broken(s, "a chain of images");
      linked[image] = atomic_load(&meta_of(s, image)->until) <= last;
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

/* Empty queue and free list, and sort what belongs into each. */
static uint32_t sort_images(spm_store *s, uint64_t last, uint32_t count, const bool *linked, uint64_t (*order)[2]) {
  spm_shm *shm = s->shm;
  uint32_t live = 0;
  shm->image_free = shm->image_oldest = shm->image_newest = SPM_IMAGE_NONE;
  shm->image_free_count = 0;
  for (uint32_t i = count; i-- > 0;) {
    if (linked[i] || image_half_saved(s, i, last)) {
      order[live][0] = atomic_load(&meta_of(s, i)->until);
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
    uint32_t live = sort_images(s, last, count, linked, order);
    for (uint32_t i = 0; i < live; i++) {
      uint32_t image = (uint32_t)order[i][1];
      enqueue_image(s, image);
      if (!linked[image]) link_image(s, image);
    }
    atomic_store(&shm->images_live, live);
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
    if (atomic_load_explicit(&meta->block, memory_order_relaxed) == block && until > snapshot &&
        until < best_until) {
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
