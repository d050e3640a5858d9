/* convergence.h -- what anti-entropy has proven, peer by peer, for people and for Prometheus. */
#ifndef NODE_CONVERGENCE_H
#define NODE_CONVERGENCE_H

#include "node/node.h"

struct peer_convergence {
    uint32_t pairs; /* of copies that this node compares with the peer's */
    uint32_t identical;
    uint32_t failed;   /* the last comparison did not end */
    uint64_t as_of_ms; /* wall clock: the oldest proof; 0: a pair has none */
};

struct peer_convergence convergence_with(const struct node *node, const struct view *view,
                                         uint32_t member);
/* "coterie_anti_entropy_peer_...{peer=...}" */
void convergence_metrics(const struct node *node, const struct view *view, FILE *out);
double convergence_age_s(uint64_t as_of_ms);

#endif
