/* A cache of the 16 KiB blocks in which the interpreter keeps Python frames.
 *
 * Since CPython 3.11 the first Python frame of every greenlet makes the interpreter map such a
 * block, and unmap it when the greenlet ends.  That is most of a short greenlet's cost.  The
 * interpreter takes blocks from its arena allocator, which may be replaced: this cache serves
 * requests of that size and passes all others on.
 *
 * Blocks are carved from slabs of 1 MiB, so that a million greenlets cost a few thousand maps.
 * A bounded number of empty slabs is kept for the next burst, and the rest are unmapped.  Once
 * many blocks are free in slabs that are still in use, their pages go back to the system.
 *
 * The lock makes the cache safe for threads without the GIL.  Nothing here runs Python. */
#ifndef TREADLE_CHUNKS_H
#define TREADLE_CHUNKS_H

#include <Python.h>
#include <stdint.h>
#include <sys/mman.h>

#define CHUNK_SIZE ((size_t)16 * 1024)
#define SLAB_SIZE ((size_t)1024 * 1024)
#define SLAB_CHUNKS 64
#define SLAB_ALL_FREE UINT64_MAX
/* 16 slabs: 1,024 blocks, at most 16 MiB, kept for the next burst. */
#define SLABS_KEPT_EMPTY 16
/* Free blocks with resident pages beyond this many are given back, half a slab at a time. */
#define CHUNKS_KEPT_WARM 1024

typedef struct chunk_slab {
    char *base;
    uint64_t free;  /* bit i: block i is free */
    uint64_t cold;  /* bit i: block i is free and its pages were given back */
    struct chunk_slab *prev, *next;  /* among the slabs with a free block */
} chunk_slab;

static struct {
    PyObjectArenaAllocator previous;
    int installed;
    char lock;
    chunk_slab *first, *last;  /* slabs with a free block; empty ones last */
    chunk_slab **table;        /* open addressing by base address */
    size_t table_size, slabs, empty, in_use, warm;
} chunks;

static void chunks_acquire(void)
{
    while (__atomic_test_and_set(&chunks.lock, __ATOMIC_ACQUIRE))
        ;
}

static void chunks_release(void)
{
    __atomic_clear(&chunks.lock, __ATOMIC_RELEASE);
}

static inline char *slab_base_of(void *ptr)
{
    return (char *)((uintptr_t)ptr & ~(SLAB_SIZE - 1));
}

static inline size_t slab_hash(char *base)
{
    return ((uintptr_t)base / SLAB_SIZE * UINT64_C(0x9E3779B97F4A7C15)) >> 20;
}

static chunk_slab **slab_cell(chunk_slab **table, size_t size, char *base)
{
    size_t i = slab_hash(base) & (size - 1);
    while (table[i] != NULL && table[i]->base != base)
        i = (i + 1) & (size - 1);
    return &table[i];
}

static int slab_table_grow(void)
{
    size_t size = chunks.table_size ? chunks.table_size * 2 : 64;
    chunk_slab **table = PyMem_RawCalloc(size, sizeof *table);
    if (table == NULL)
        return -1;
    for (size_t i = 0; i < chunks.table_size; i++)
        if (chunks.table[i] != NULL)
            *slab_cell(table, size, chunks.table[i]->base) = chunks.table[i];
    PyMem_RawFree(chunks.table);
    chunks.table = table;
    chunks.table_size = size;
    return 0;
}

/* Remove a cell and close the gap, so that probing needs no tombstones. */
static void slab_table_remove(chunk_slab **cell)
{
    size_t mask = chunks.table_size - 1, hole = cell - chunks.table;
    *cell = NULL;
    for (size_t i = (hole + 1) & mask; chunks.table[i] != NULL; i = (i + 1) & mask) {
        size_t home = slab_hash(chunks.table[i]->base) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            chunks.table[hole] = chunks.table[i];
            chunks.table[i] = NULL;
            hole = i;
        }
    }
}

static void slab_link(chunk_slab *slab, int at_end)
{
    slab->prev = at_end ? chunks.last : NULL;
    slab->next = at_end ? NULL : chunks.first;
    *(slab->prev ? &slab->prev->next : &chunks.first) = slab;
    *(slab->next ? &slab->next->prev : &chunks.last) = slab;
}

static void slab_unlink(chunk_slab *slab)
{
    *(slab->prev ? &slab->prev->next : &chunks.first) = slab->next;
    *(slab->next ? &slab->next->prev : &chunks.last) = slab->prev;
}

/* Map SLAB_SIZE bytes aligned to SLAB_SIZE, so that a block's address gives its slab. */
static char *slab_map(void)
{
    char *raw = mmap(NULL, 2 * SLAB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *base = slab_base_of(raw + SLAB_SIZE - 1);
    if (base > raw)
        munmap(raw, base - raw);
    munmap(base + SLAB_SIZE, raw + SLAB_SIZE - base);
#ifdef MADV_NOHUGEPAGE
    madvise(base, SLAB_SIZE, MADV_NOHUGEPAGE);  /* most greenlets touch one page of four */
#endif
    return base;
}

static chunk_slab *slab_new(void)
{
    if ((chunks.slabs + 1) * 2 > chunks.table_size && slab_table_grow() < 0)
        return NULL;
    chunk_slab *slab = PyMem_RawMalloc(sizeof *slab);
    if (slab == NULL)
        return NULL;
    slab->base = slab_map();
    if (slab->base == NULL) {
        PyMem_RawFree(slab);
        return NULL;
    }
    slab->free = slab->cold = SLAB_ALL_FREE;
    *slab_cell(chunks.table, chunks.table_size, slab->base) = slab;
    chunks.slabs++;
    chunks.empty++;
    slab_link(slab, 1);
    return slab;
}

static void slab_release(chunk_slab *slab, chunk_slab **cell)
{
    chunks.warm -= __builtin_popcountll(slab->free & ~slab->cold);
    chunks.empty--;
    chunks.slabs--;
    slab_unlink(slab);
    slab_table_remove(cell);
    munmap(slab->base, SLAB_SIZE);
    PyMem_RawFree(slab);
}

/* Give the pages of the slab's free blocks back to the system, run by run. */
static void slab_cool(chunk_slab *slab)
{
    uint64_t warm = slab->free & ~slab->cold;
    chunks.warm -= __builtin_popcountll(warm);
    slab->cold |= warm;
    while (warm) {
        int start = __builtin_ctzll(warm);
        uint64_t rest = ~(warm >> start);
        int run = rest ? __builtin_ctzll(rest) : SLAB_CHUNKS;
        if (start + run > SLAB_CHUNKS)
            run = SLAB_CHUNKS - start;
        madvise(slab->base + start * CHUNK_SIZE, run * CHUNK_SIZE, MADV_DONTNEED);
        warm = start + run < SLAB_CHUNKS ? warm >> (start + run) << (start + run) : 0;
    }
}

static void *chunks_alloc(void *ctx, size_t size)
{
    if (size != CHUNK_SIZE)
        return chunks.previous.alloc(chunks.previous.ctx, size);
    chunks_acquire();
    chunk_slab *slab = chunks.first ? chunks.first : slab_new();
    if (slab == NULL) {
        chunks_release();
        return chunks.previous.alloc(chunks.previous.ctx, size);
    }
    if (slab->free == SLAB_ALL_FREE)
        chunks.empty--;
    uint64_t warm = slab->free & ~slab->cold;
    int i = __builtin_ctzll(warm ? warm : slab->free);
    if (warm)
        chunks.warm--;
    slab->free &= ~(UINT64_C(1) << i);
    slab->cold &= ~(UINT64_C(1) << i);
    if (slab->free == 0)
        slab_unlink(slab);
    chunks.in_use++;
    chunks_release();
    return slab->base + i * CHUNK_SIZE;
}

static void chunks_free(void *ctx, void *ptr, size_t size)
{
    chunk_slab **cell = NULL;
    if (size == CHUNK_SIZE) {
        chunks_acquire();
        if (chunks.table != NULL)
            cell = slab_cell(chunks.table, chunks.table_size, slab_base_of(ptr));
    }
    if (cell == NULL || *cell == NULL) {  /* not of this cache: allocated before it was installed */
        if (size == CHUNK_SIZE)
            chunks_release();
        chunks.previous.free(chunks.previous.ctx, ptr, size);
        return;
    }
    chunk_slab *slab = *cell;
    if (slab->free == 0)
        slab_link(slab, 0);
    slab->free |= UINT64_C(1) << (((char *)ptr - slab->base) / CHUNK_SIZE);
    chunks.in_use--;
    chunks.warm++;
    if (slab->free == SLAB_ALL_FREE) {
        slab_unlink(slab);  /* empty slabs go last, so that partly used ones fill up first */
        slab_link(slab, 1);
        if (++chunks.empty > SLABS_KEPT_EMPTY)
            slab_release(slab, cell);
    } else if (chunks.warm > CHUNKS_KEPT_WARM
               && __builtin_popcountll(slab->free & ~slab->cold) >= SLAB_CHUNKS / 2) {
        slab_cool(slab);
    }
    chunks_release();
}

static void chunks_install(void)
{
    if (chunks.installed)
        return;
    PyObject_GetArenaAllocator(&chunks.previous);
    PyObjectArenaAllocator ours = {NULL, chunks_alloc, chunks_free};
    PyObject_SetArenaAllocator(&ours);
    chunks.installed = 1;
}

#endif
