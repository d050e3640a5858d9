/* join.h -- how a node comes into a cluster that runs: --join.
 *
 * The first start with an empty directory asks a seed for a place (coterie.v1.Cluster.Join), under
 * an id that is in the directory before it is sent: so asking again, also after a crash, joins
 * once. The answer is the topology document with the new member in it, kept beside the id; every
 * later start goes by that and asks nobody. Seeds that do not answer, or cannot take a member now
 * because another change is under way, are asked again with growing pauses.
 *
 * What was joined is only staged. Unless --join-hold is given, a thread has it committed as soon as
 * nothing else is staged and nobody has staged anything for some seconds, so that nodes that start
 * together move together. What an operator has staged, another node that joins with --join-hold
 * among it, is committed by that operator alone, and this node's place with it.
 *
 * File DATA_DIR/joined (little-endian): "coterie-joined-1\n" | 16 bytes join id | u32 number, 0
 * when not answered yet | sized bytes document | u64 XXH3-64 of all before.
 */
#ifndef NODE_JOIN_H
#define NODE_JOIN_H

#include "model/topology.h"
#include "node/config.h"

#include <pthread.h>
#include <signal.h>

struct node;

struct join_record {
    bool known;    /* there is such a file */
    bool answered; /* a cluster has taken this node in */
    uint8_t join_id[16];
    uint32_t number;
    struct topology topology; /* in the arena */
};

/* CORRUPT, IO; a sentence in `why`. */
enum err join_read(struct arena *arena, const char *directory, struct join_record *ret_record,
                   char *why, size_t why_size) MUST_USE;
/* Whether the directory holds a store already. */
bool join_has_store(const char *directory);
/* Blocks until the node has its place. CLOSED: SIGTERM or SIGINT came first (the signals are
 * blocked). INVALID, EXISTS (the name is another node's), IO: a sentence in `why`. */
enum err join_ask(struct arena *arena, const struct config *config, const struct log *log,
                  struct join_record *record, char *why, size_t why_size) MUST_USE;
/* host:port where the others reach this node. A wildcard is none. */
const char *join_advertised_address(const struct config *config);
/* Whether that is a word of this node's own, rather than one from a list of all. */
bool join_says_address(const struct config *config, bool joined);

/* -- the commit ----------------------------------------------------------------------------------
 */

struct join_watch {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running; /* the thread was started and is to be joined */
    bool stop;
};

/* For a member that is joining, unless an operator is to commit it. */
void join_watch_start(struct node *node);
void join_watch_stop(struct node *node);

#endif
