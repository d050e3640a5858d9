/* coordinator.h -- carries one client request over the replicas of its key.
 *
 * Owns:     requests in flight, at most options.requests_max.
 * Receives: client_get, client_put, forward_put, forward_put_reply, replica_mint_done,
 *           replica_write_reply, replica_read_reply, hint_store_reply, register_query_reply,
 *           register_prepare_reply, register_accept_reply, register_settle.
 * Sends:    register_query, register_prepare, register_accept, replica_read, replica_write (read
 * repair), replica_mint, forward_put, hint_store, range_dirty, client_get_done, client_put_done,
 * forward_put_reply, register_settle_done, topology_behind. Time:     one deadline, one "late" time
 * and one hedge a request; see coordinator_wake_at_ns(). Memory:   requests_max * sizeof(struct
 * request) + the messages that requests hold. Source:   Dynamo (SOSP 2007) 4.5, 4.6; blocking read
 * repair as in Cassandra 4.0; hedges as in The Tail at Scale (CACM 2013).
 *
 *     client_get -> READING ---- r equal answers --------------------> client_get_done (OK)
 *                    | ^   `--- r answers that differ -> REPAIRING -- acks --'
 *                    | `--------- a newer floor, once -----' `-- refused, deadline --> UNAVAILABLE
 *                    `--------- too many failed, deadline --> UNAVAILABLE, TIMEOUT
 *     answered -> COMPARING: until those that were asked and did not vote have answered and hold
 *                 the same, at most a second
 *
 *     client_put -> FORWARDED (no replica here) -- forward_put_reply ------> client_put_done
 *     client_put, forward_put
 *                -> WRITING ---- w durable, own mint among the answers ----> *_put_done / _reply
 *                      `-------- refused at the mint (not applied), too many failed or deadline
 *                                (unknown)
 *     client_get, client_put of a consistent keyspace -> REGISTER: see coordinator_register.c
 *     answered -> SETTLING: until each replica has the write, or a durable hint keeps it for one
 *                 that is away (sloppy quorum: a fallback's hint counts for W in the place of its
 *                 replica, unless the write is strict)
 */
#ifndef ACTORS_COORDINATOR_H
#define ACTORS_COORDINATOR_H

#include "actors/actor.h"
#include "base/counter.h"

struct coordinator;

struct coordinator_options {
    uint32_t self;
    uint8_t index;
    uint32_t requests_max; /* 1..65535; beyond it requests are OVERLOADED */
    /* Of this life: no other life of any directory of this member had it (boot.h, epoch_start). In
     * ballots and ids of registers. */
    uint64_t incarnation;
    uint64_t generation; /* of this start: keeps answers to an earlier life apart */
    /* A read that takes longer (a hedge may come before) asks the remaining replicas, and again
     * those that have not answered, and so on at twice the time; 100 ms. */
    uint64_t read_late_ns;
    /* A write that takes longer is sent again to those that have not answered; 500 ms. */
    uint64_t write_late_ns;
    uint64_t deadline_default_ns; /* for requests without one */
    bool remote_direct; /* each replica of another data centre is sent a write from here, not by one
                           of its own that passes it on */
};

struct coordinator_figures {
    struct counter gets;
    struct counter puts;
    struct counter forwarded;  /* puts passed on */
    struct counter taken_over; /* forward_put received */
    struct counter duplicates; /* forward_put received twice */
    struct counter in_flight;
    struct counter refused;       /* table full */
    struct counter read_differed; /* quorum reads whose answers differed */
    struct counter read_repairs;  /* replicas repaired before the answer */
    struct counter read_again;    /* reads begun anew: a repair met a newer floor or was refused */
    struct counter left_out;      /* of those: without the voter that refused */
    struct counter comparing;     /* answered reads that wait for replicas that did not vote, now */
    struct counter compared;      /* answers of such replicas */
    struct counter compare_skipped;     /* such reads that found no place to wait */
    struct counter late_repairs;        /* replicas sent what they lacked, after the answer */
    struct counter late_repairs_failed; /* refused, or not answered */
    struct counter refreshed;           /* writes sent anew: a replica had a newer floor */
    struct counter read_late;           /* reads that asked more replicas */
    struct counter hedges_sent;         /* reads that asked one more because an answer was late */
    struct counter hedges_won;          /* of those: its answer was one of the quorum */
    struct counter hedges_capped;       /* late, but hedges were 5 % of the questions already */
    struct counter asked_again;         /* reads, repairs and writes sent again to a replica */
    struct counter remote_onward;   /* copies of writes left to a replica of their data centre */
    struct counter remote_stranded; /* of those: sent from here, that replica being unreachable */
    struct counter replanned;       /* requests refused for the epoch of their plan, planned anew */
    struct counter epochs_told;     /* times that the gossip was told of a newer epoch */
    struct counter timeouts;
    struct counter unavailable;
    struct counter answers_late;        /* for requests that have ended */
    struct counter hints_sent;          /* hint_store, again ones included */
    struct counter stood_in;            /* hints that counted for a write */
    struct counter hints_failed;        /* refused or not delivered: somebody else is asked */
    struct counter settling;            /* answered writes that some replica still lacks, now */
    struct counter unsettled;           /* ended so: a replica has neither the write nor a hint */
    struct counter registers;           /* requests on consistent keyspaces */
    struct counter register_conflicts;  /* their attempts that met a greater ballot */
    struct counter register_fast_reads; /* answered by one question */
    struct counter corrupt;             /* records from replicas that failed their checksum */
    struct counter unexpected;
};

struct coordinator_options coordinator_options_default(uint32_t self, uint8_t index,
                                                       uint64_t generation, uint64_t incarnation);
struct coordinator *coordinator_new(const struct coordinator_options *options);
void coordinator_free(struct coordinator *coordinator);
struct actor *coordinator_actor(struct coordinator *coordinator);
const struct coordinator_figures *coordinator_figures(const struct coordinator *coordinator);

#endif
