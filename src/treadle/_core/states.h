/* The states of a Wait and of a hub, and which state may follow which. Only move() and move_hub()
   in hub.pxd set a state, and they check these tables. */
#ifndef TREADLE_STATES_H
#define TREADLE_STATES_H

typedef enum {
    WAIT_NEW,    /* made, perhaps queued; its greenlet still runs */
    WAIT_PARKED, /* its greenlet has switched away, or is about to */
    WAIT_READY,  /* unparked: its entry is in a ring or inbox */
    WAIT_DONE    /* taken from the ring, or left by an exception; nothing changes it any more */
} treadle_wait_state;

typedef enum {
    HUB_OPEN,    /* the hub runs */
    HUB_FORKING, /* its thread forks: from the first at-fork hook to treadle's own */
    HUB_CLOSED   /* destroyed, or its thread has ended; what was parked in it never runs again */
} treadle_hub_state;

#define TREADLE_TO(state) (1u << (state))

/* The index is a state; its bits are the states that may follow. */
static const unsigned char treadle_wait_moves[] = {
    [WAIT_NEW] = TREADLE_TO(WAIT_PARKED) | TREADLE_TO(WAIT_READY) | TREADLE_TO(WAIT_DONE),
    [WAIT_PARKED] = TREADLE_TO(WAIT_READY) | TREADLE_TO(WAIT_DONE),
    [WAIT_READY] = TREADLE_TO(WAIT_DONE),
    [WAIT_DONE] = 0,
};

static const unsigned char treadle_hub_moves[] = {
    [HUB_OPEN] = TREADLE_TO(HUB_FORKING) | TREADLE_TO(HUB_CLOSED),
    [HUB_FORKING] = TREADLE_TO(HUB_OPEN) | TREADLE_TO(HUB_CLOSED),
    [HUB_CLOSED] = 0,
};

static inline int treadle_wait_may(treadle_wait_state from, treadle_wait_state to)
{
    return (treadle_wait_moves[from] & TREADLE_TO(to)) != 0;
}

static inline int treadle_hub_may(treadle_hub_state from, treadle_hub_state to)
{
    return (treadle_hub_moves[from] & TREADLE_TO(to)) != 0;
}

#endif
