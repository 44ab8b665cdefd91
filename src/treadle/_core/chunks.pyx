"""The cache of blocks for Python frames that makes greenlets cheap; chunks.h explains it."""

cdef extern from "chunks.h":
    struct chunk_state "chunks":
        pass
    void chunks_install()
    size_t chunk_in_use "chunks.in_use"
    size_t chunk_slabs "chunks.slabs"
    size_t chunk_warm "chunks.warm"
    size_t CHUNK_SIZE
    size_t SLAB_CHUNKS


def install() -> None:
    """Put the cache in front of the interpreter's arena allocator; a second call does nothing."""
    chunks_install()


def stats() -> dict[str, int]:
    """Return the numbers of the cache's blocks.

    ``in_use``: blocks that hold frames of living greenlets and threads; ``free``: blocks kept
    for later ones; ``warm``: free blocks with resident pages; ``bytes``: address space held.
    """
    capacity = chunk_slabs * SLAB_CHUNKS
    return {
        "in_use": chunk_in_use,
        "free": capacity - chunk_in_use,
        "warm": chunk_warm,
        "bytes": capacity * CHUNK_SIZE,
    }
